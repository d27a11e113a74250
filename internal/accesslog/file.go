package accesslog

import (
	"bytes"
	"compress/gzip"
	"sync"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// errorInterval is the time in which a file's write errors are logged once.
const errorInterval = time.Minute

// file is a log file of one configuration.
type file struct {
	file   *errlog.File
	buffer *buffer     // of buffer=
	gather *gather     // without buffer=; nil: each line is written at once
	log    *errlog.Log // for errors that belong to no request

	mu       sync.Mutex
	reported time.Time // guarded by mu: of the last error that was logged
}

func (f *file) write(_ *ngx.Request, line []byte) {
	switch {
	case f.buffer != nil:
		f.buffer.add(line)
	case f.gather != nil:
		f.gather.add(line)
	default:
		f.writeOut(line)
	}
}

// writeOut writes to the file and logs a failure, once a minute.
func (f *file) writeOut(p []byte) {
	n, err := f.file.Write(p)
	if err == nil && n == len(p) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.reported) < errorInterval {
		return
	}
	f.reported = time.Now()
	if err != nil {
		f.log.Printf(errlog.Alert, 0, `write() to "%s" failed %s`, f.file.Path(), errlog.Errno(err))
		return
	}
	f.log.Printf(errlog.Alert, 0, `write() to "%s" was incomplete: %d of %d`, f.file.Path(), n, len(p))
}

func (f *file) close() {
	if f.buffer != nil {
		f.buffer.close()
	}
	if f.gather != nil {
		f.gather.close()
	}
	f.file.Close()
}

// buffer collects lines and writes them together, compressed if asked for.
type buffer struct {
	buffering
	file *file

	mu     sync.Mutex // guards what follows
	lines  []byte
	timer  *time.Timer // runs while there are lines and flush= is set
	closed bool
	packed bytes.Buffer
	gz     *gzip.Writer
}

func newBuffer(f *file, bc buffering) *buffer {
	b := &buffer{buffering: bc, file: f, lines: make([]byte, 0, bc.size)}
	if bc.gzip > 0 {
		b.gz, _ = gzip.NewWriterLevel(&b.packed, bc.gzip) // the level was checked
	}
	return b
}

// add takes a line; one that doesn't fit sends those before it out.
func (b *buffer) add(line []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(line) > cap(b.lines)-len(b.lines) {
		b.out()
	}
	if len(line) > cap(b.lines) || b.closed {
		b.writeOut(line)
		return
	}
	if len(b.lines) == 0 && b.buffering.flush > 0 {
		if b.timer == nil {
			b.timer = time.AfterFunc(b.buffering.flush, b.flush)
		} else {
			b.timer.Reset(b.buffering.flush)
		}
	}
	b.lines = append(b.lines, line...)
}

// flush writes what was collected.
func (b *buffer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out()
}

// out is flush with mu held.
func (b *buffer) out() {
	if b.timer != nil {
		b.timer.Stop()
	}
	if len(b.lines) > 0 {
		b.writeOut(b.lines)
		b.lines = b.lines[:0]
	}
}

// writeOut writes p as it is, or as one gzip member, so that the file is one that gunzip reads.
func (b *buffer) writeOut(p []byte) {
	if b.gz == nil {
		b.file.writeOut(p)
		return
	}
	b.packed.Reset()
	b.gz.Reset(&b.packed)
	b.gz.Write(p) // to memory: it can't fail
	b.gz.Close()
	b.file.writeOut(b.packed.Bytes())
}

// close writes what was collected and lets later lines go out at once.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out()
	b.closed = true
}
