//go:build !race

package script

// raceEnabled makes the server be built with the race detector, too.
const raceEnabled = false
