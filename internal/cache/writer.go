package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"limpet/internal/errlog"
)

// writeBuffer is how much of an answer is gathered before it is written; one that fits is written at once.
const writeBuffer = 32 << 10

// Writer writes a new file for a key. It is used by one goroutine at a time and ended
// by Commit or Abort.
type Writer struct {
	h    *Hold
	open func() (*os.File, error)
	f    *os.File
	meta Meta
	key  []byte
	head int // length of the answer's head
	buf  []byte
	body int64
	at   int64 // of the file: how much was written
}

// Create begins a file with the answer's head. Temporary files are made by temp where the
// store uses the proxy's folder for them. Nothing is on disk before a buffer is full.
func (h *Hold) Create(m *Meta, key, head []byte, temp func() (*os.File, error)) *Writer {
	w := &Writer{h: h, open: temp, meta: *m, key: key, head: len(head)}
	if !h.s.UseTempPath() {
		w.open = w.beside
	}
	w.buf = appendHead(make([]byte, 0, 2048+len(head)), m, key, head, -1)
	return w
}

// beside makes a temporary file next to where the file goes.
func (w *Writer) beside() (*os.File, error) { return createBeside(w.h.s.Path(w.h.Key), 0o600) }

// createBeside makes a file of the name with a dot and ten digits, and the folders above it.
func createBeside(name string, mode os.FileMode) (*os.File, error) {
	for n := uint64(time.Now().UnixNano()); ; n++ {
		temp := fmt.Sprintf("%s.%010d", name, n%1e10)
		f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		switch {
		case err == nil:
			return f, nil
		case os.IsExist(err):
			continue
		case os.IsNotExist(err):
			if err := MakeDirs(temp, 0o700); err != nil {
				return nil, err
			}
			continue
		}
		return nil, fmt.Errorf(`open() "%s" failed %s`, temp, errlog.Errno(err))
	}
}

// Write appends to the body. Its error is the text for the log.
func (w *Writer) Write(p []byte) error {
	w.body += int64(len(p))
	if len(w.buf)+len(p) <= writeBuffer {
		w.buf = append(w.buf, p...)
		return nil
	}
	if err := w.flush(w.buf); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	if len(p) >= writeBuffer/2 {
		return w.flush(p)
	}
	w.buf = append(w.buf, p...)
	return nil
}

func (w *Writer) flush(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if w.f == nil {
		f, err := w.open()
		if err != nil {
			return err
		}
		w.f = f
	}
	n, err := w.f.WriteAt(p, w.at)
	w.at += int64(n)
	if err != nil {
		return fmt.Errorf(`pwrite() "%s" failed %s`, w.f.Name(), errlog.Errno(err))
	}
	return nil
}

// Commit puts the file in place, for all to see, and ends the update. Its error is the text for the log.
func (w *Writer) Commit() error {
	fixed := fixedSize + len(w.meta.ETag) + len(w.meta.Vary) + len(w.key)
	whole := w.at == 0 // in the buffer: its fixed part can be made right there
	if whole {
		copy(w.buf, appendHead(nil, &w.meta, w.key, w.buf[fixed:fixed+w.head], w.body))
	}
	err := w.flush(w.buf)
	if err == nil && !whole {
		err = w.seal(fixed)
	}
	if err == nil {
		err = w.place()
	}
	if err != nil {
		w.Abort()
		return err
	}
	w.f = nil
	return nil
}

// seal writes the fixed part of a file whose body's length wasn't known when it was begun.
func (w *Writer) seal(fixed int) error {
	head := make([]byte, w.head)
	if _, err := w.f.ReadAt(head, int64(fixed)); err != nil {
		return fmt.Errorf(`pread() "%s" failed %s`, w.f.Name(), errlog.Errno(err))
	}
	if _, err := w.f.WriteAt(appendHead(nil, &w.meta, w.key, head, w.body)[:fixed], 0); err != nil {
		return fmt.Errorf(`pwrite() "%s" failed %s`, w.f.Name(), errlog.Errno(err))
	}
	return nil
}

// place renames the file and notes it in the index.
func (w *Writer) place() error {
	s, n, name := w.h.s, w.h.n, w.h.s.Path(w.h.Key)
	temp := w.f.Name()
	if err := w.f.Close(); err != nil {
		os.Remove(temp)
		return fmt.Errorf(`close() "%s" failed %s`, temp, errlog.Errno(err))
	}
	s.mu.Lock()
	for n.deleting {
		s.moved.Wait()
	}
	n.deleting = true // nobody removes the file until it is counted
	s.mu.Unlock()
	err := Rename(temp, name, 0o600, 0o700)
	s.mu.Lock()
	n.deleting = false
	s.moved.Broadcast()
	if err == nil {
		s.has(n, w.at)
		n.status = 0
		n.free()
	}
	s.mu.Unlock()
	return err
}

// Abort drops the file. It does nothing after Commit.
func (w *Writer) Abort() {
	if w.f != nil {
		w.f.Close()
		os.Remove(w.f.Name())
		w.f = nil
	}
}

// Rename moves a file, making the folders above its new name, and copies it where it is on
// another file system; the file at its old name is gone in any case. Its error is the text for the log.
func Rename(from, to string, mode, dirMode os.FileMode) error {
	err := os.Rename(from, to)
	if os.IsNotExist(err) {
		if err := MakeDirs(to, dirMode); err != nil {
			os.Remove(from)
			return err
		}
		err = os.Rename(from, to)
	}
	if errors.Is(err, syscall.EXDEV) {
		err = renameAcross(from, to, mode)
	}
	if err != nil {
		os.Remove(from)
		return fmt.Errorf(`rename() "%s" to "%s" failed %s`, from, to, errlog.Errno(err))
	}
	return nil
}

// renameAcross copies a file beside its new name first, so that nobody sees a part of it.
func renameAcross(from, to string, mode os.FileMode) error {
	temp := fmt.Sprintf("%s.%010d", to, uint64(time.Now().UnixNano())%1e10)
	if err := copyFile(temp, from, mode); err != nil {
		return err
	}
	if st, err := os.Stat(from); err == nil {
		os.Chtimes(temp, time.Time{}, st.ModTime())
	}
	if err := os.Chmod(temp, mode); err != nil {
		os.Remove(temp)
		return err
	}
	if err := os.Rename(temp, to); err != nil {
		os.Remove(temp)
		return err
	}
	return os.Remove(from)
}

// MakeDirs makes the folders above a name. Its error is the text for the log.
func MakeDirs(name string, mode os.FileMode) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf(`mkdir() "%s" failed %s`, dir, errlog.Errno(err))
	}
	return nil
}
