// Package hostile replays what nginx answered to hostile, malformed and borderline
// clients and backends, recorded from nginx 1.31, against limpet. It is test code
// only; the recordings and their format are in testdata/hostile.
package hostile
