//go:build race

package chaos

// raceEnabled says that the race detector, whose memory counts, is at work.
const raceEnabled = true
