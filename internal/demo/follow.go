package demo

import (
	"io"
	"os"
	"time"
)

// follower copies what is appended to a file.
type follower struct {
	file *os.File
	quit chan struct{}
	done chan struct{}
}

// followEvery is how often the file is looked at.
const followEvery = 200 * time.Millisecond

// follow makes the file and copies it to out as it grows.
func follow(name string, out io.Writer) (*follower, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	l := &follower{f, make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(l.done)
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				io.Copy(out, f)
			case <-l.quit:
				io.Copy(out, f)
				return
			}
		}
	}()
	return l, nil
}

func (l *follower) close() {
	close(l.quit)
	<-l.done
	l.file.Close()
}
