package relay

import (
	"io"
	"os"
	"sync"
	"time"

	"limpet/internal/tcp"
)

// spool reads an answer ahead of a slow client: into memory up to _buffers,
// then into a temporary file up to _max_temp_file_size, then it waits. Its
// goroutine begins when a write to the client first blocks. From then until stop has
// returned, the connection to the peer and where its reading stands (source, x.In)
// are the goroutine's; the request, but for its log lines, is not.
type spool struct {
	x    *Exchange
	conn *tcp.Conn
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	changed sync.Cond
	mem     [][]byte // comes before the file's
	memSize int64
	file    *os.File
	from    int64 // file[from:to] is unread
	to      int64
	err     error // the source's end
	noFile  bool  // there is none to be had
	read    bool  // the answer was read to its end
	stopped bool
	buf     []byte // what take read of the file
}

// startSpool starts reading ahead. It is called from a blocked write; while the peer
// is being read already, it only takes note.
func (x *Exchange) startSpool() {
	if x.src.busy {
		x.src.slow = true
		return
	}
	if x.spool != nil || x.src.ended || !x.Framed && x.Length >= 0 && x.src.remain == 0 {
		return
	}
	// The write at hand still uses the buffer.
	in := make([]byte, len(x.In))
	x.Wr = copy(in, x.In[x.Rd:x.Wr])
	x.In, x.Rd, x.src.base = in, 0, 0
	s := &spool{x: x, conn: x.link.Conn, done: make(chan struct{})}
	s.changed.L = &s.mu
	x.spool = s
	go s.run()
}

// run reads until the answer's end; then the peer is free for others.
func (s *spool) run() {
	defer close(s.done)
	for {
		p, err := s.x.next()
		if len(p) > 0 && !s.put(p) {
			return
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

// end notes that there is nothing more to come.
func (s *spool) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == io.EOF && !s.stopped {
		s.read = true
		s.x.ended = time.Now()
		s.x.release()
	}
	s.err = err
	s.changed.Signal()
}

// put stores a piece; false when nobody wants it any more.
func (s *spool) put(p []byte) bool {
	c := s.x.H.conf
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.stopped {
		size := int64(len(p))
		switch {
		case s.from == s.to && (s.memSize == 0 || s.memSize+size <= int64(c.Buffers.V.Num)*c.Buffers.V.Size):
			s.mem = append(s.mem, append([]byte(nil), p...))
			s.memSize += size
			s.changed.Signal()
			return true
		case !s.noFile && s.to+size <= c.MaxTempSize.V:
			if s.write(p) {
				s.changed.Signal()
				return true
			}
			s.noFile = true
		}
		s.changed.Wait()
	}
	return false
}

// write appends to the temporary file; false where there is none to be had.
func (s *spool) write(p []byte) bool {
	r := s.x.R
	if s.file == nil {
		f, err := s.x.H.temp.Create(r)
		if err != nil {
			r.Critf("%s", err)
			return false
		}
		os.Remove(f.Name())
		r.Warnf("an upstream response is buffered to a temporary file %s while %s", f.Name(), WhileBody)
		s.file = f
	}
	if _, err := s.file.WriteAt(p, s.to); err != nil {
		r.Critf(`pwritev() "%s" failed (%s)`, s.file.Name(), err)
		return false
	}
	s.to += int64(len(p))
	return true
}

// ready reports whether take returns at once.
func (s *spool) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mem) > 0 || s.from < s.to || s.err != nil
}

// take returns the next piece, good until the next call; the source's error behind the last one.
func (s *spool) take() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case len(s.mem) > 0:
			p := s.mem[0]
			s.mem[0] = nil
			s.mem = s.mem[1:]
			s.memSize -= int64(len(p))
			s.changed.Signal()
			return p, nil
		case s.from < s.to:
			return s.fromFile()
		case s.err != nil:
			return nil, s.err
		}
		s.changed.Wait()
	}
}

// fromFile reads a piece of the file. s.mu is held.
func (s *spool) fromFile() ([]byte, error) {
	if s.buf == nil {
		s.buf = make([]byte, 64<<10)
	}
	n, err := s.file.ReadAt(s.buf[:min(int64(len(s.buf)), s.to-s.from)], s.from)
	if n == 0 {
		return nil, err
	}
	if s.from += int64(n); s.from == s.to {
		s.from, s.to = 0, 0
		s.changed.Signal()
	}
	return s.buf[:n], nil
}

// stop ends the reading and waits for it. A nil spool has nothing to stop.
func (s *spool) stop() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.stopped = true
	if !s.read {
		s.conn.Abort()
	}
	s.changed.Signal()
	s.mu.Unlock()
	<-s.done
	if s.file != nil {
		s.file.Close()
	}
}
