package cache

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"syscall"

	"limpet/internal/errlog"
)

// Key is the MD5 of a key, by which the index and the files are looked up.
type Key [md5.Size]byte

// String returns the key in hexadecimal: the file's name.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Meta is what is kept with an answer besides its bytes. Times are Unix seconds.
type Meta struct {
	Valid        int64 // fresh until then
	Updating     int64 // seconds behind Valid while it may be served during an update
	Error        int64 // seconds behind Valid while it may be served for an error
	Date         int64 // of the answer, or of the last time that it was found unchanged
	LastModified int64 // 0 for none
	ETag         []byte
	Vary         []byte // the Vary field
	Variant      Key    // of the request that it answered, by Vary
}

// The fixed part of a file, little-endian:
//
//	 0  magic
//	 8  CRC-32 of what follows up to the times and of the variable part
//	12  length of the entity tag, 2 bytes; of Vary, 2 bytes
//	16  length of the key, 4 bytes; of the answer's head, 4 bytes
//	24  length of the body, 8 bytes
//	32  time of the last change, 8 bytes
//	40  variant, 16 bytes
//	56  times: Valid, Updating, Error, Date, 8 bytes each
//	88  CRC-32 of the times
//
// The variable part follows: entity tag, Vary, key, the answer's head; then the body.
// The times alone are changed in place. A reader that meets them half changed takes the
// answer for one that has to be asked for again.
const (
	magic     = "limpet\x00\x01"
	crcAt     = 8
	fixedAt   = 12
	timesAt   = 56
	timesEnd  = 88
	fixedSize = 92
)

// maxSmall bounds the lengths of the parts of 2 bytes, as in nginx.
const maxSmall = 128

func (m *Meta) appendTimes(b []byte) []byte {
	mark := len(b)
	for _, t := range [...]int64{m.Valid, m.Updating, m.Error, m.Date} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[mark:]))
}

// appendHead appends all of a file that comes before the body.
func appendHead(b []byte, m *Meta, key, head []byte, body int64) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = append(b, magic...)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint16(b, uint16(len(m.ETag)))
	b = le.AppendUint16(b, uint16(len(m.Vary)))
	b = le.AppendUint32(b, uint32(len(key)))
	b = le.AppendUint32(b, uint32(len(head)))
	b = le.AppendUint64(b, uint64(body))
	b = le.AppendUint64(b, uint64(m.LastModified))
	b = append(b, m.Variant[:]...)
	b = m.appendTimes(b)
	b = append(append(append(append(b, m.ETag...), m.Vary...), key...), head...)
	le.PutUint32(b[start+crcAt:], checksum(b[start:]))
	return b
}

// checksum is that of the fixed part without its times and of the variable part.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(b[fixedAt:timesAt]), crc32.IEEETable, b[fixedSize:])
}

// layout says where the parts of a file lie.
type layout struct {
	etag, vary, key, head, body int64 // where they begin
	end                         int64
}

var (
	errForeign   = errors.New("is not a cache file")
	errTruncated = errors.New("is truncated")
	errChecksum  = errors.New("has a wrong checksum")
	errTooLong   = errors.New("has too long header")
	errCollision = errors.New("has md5 collision")
)

// parseLayout reads the lengths in a fixed part. They are bounded, so that sums don't overflow.
func parseLayout(b []byte) (l layout, err error) {
	if len(b) < fixedSize || string(b[:len(magic)]) != magic {
		return l, errForeign
	}
	le := binary.LittleEndian
	etag, vary := int64(le.Uint16(b[12:])), int64(le.Uint16(b[14:]))
	key, head, body := int64(le.Uint32(b[16:])), int64(le.Uint32(b[20:])), int64(le.Uint64(b[24:]))
	if etag > maxSmall || vary > maxSmall || body < 0 || body > 1<<60 {
		return l, errForeign
	}
	l.etag = fixedSize
	l.vary = l.etag + etag
	l.key = l.vary + vary
	l.head = l.key + key
	l.body = l.head + head
	l.end = l.body + body
	return l, nil
}

// parseMeta reads what comes before the body, which b holds whole. ETag and Vary are parts of b.
func (l *layout) parseMeta(b []byte) (m Meta, err error) {
	le := binary.LittleEndian
	if le.Uint32(b[crcAt:]) != checksum(b[:l.body]) {
		return m, errChecksum
	}
	m.LastModified = int64(le.Uint64(b[32:]))
	copy(m.Variant[:], b[40:])
	if crc32.ChecksumIEEE(b[timesAt:timesEnd]) == le.Uint32(b[timesEnd:]) {
		t := func(i int) int64 { return int64(le.Uint64(b[timesAt+8*i:])) }
		m.Valid, m.Updating, m.Error, m.Date = t(0), t(1), t(2), t(3)
	}
	m.ETag, m.Vary = b[l.etag:l.vary:l.vary], b[l.vary:l.key:l.key]
	return m, nil
}

// File is an open file of the cache. It is used by one goroutine at a time.
type File struct {
	Meta
	Name string
	fd   int
	l    layout
}

// openFile opens a file, checks it and reads its beginning into buf, which holds at
// least what comes before the body, or the file isn't used. key is compared unless it
// is nil. n is how much of the file is in buf. An error of the system call open is
// returned as it is.
func openFile(name string, key, buf []byte) (f *File, n int, err error) {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	f = &File{Name: name, fd: fd}
	if n, err = f.load(buf); err != nil {
		f.Close()
		return nil, 0, err
	}
	if key != nil && string(buf[f.l.key:f.l.head]) != string(key) {
		f.Close()
		return nil, 0, errCollision
	}
	return f, n, nil
}

// load reads and checks the file's beginning.
func (f *File) load(buf []byte) (n int, err error) {
	for n < len(buf) {
		m, err := syscall.Pread(f.fd, buf[n:], int64(n))
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	if f.l, err = parseLayout(buf[:n]); err != nil {
		return 0, err
	}
	size := int64(n)
	if n == len(buf) {
		var st syscall.Stat_t
		if err := syscall.Fstat(f.fd, &st); err != nil {
			return 0, err
		}
		size = st.Size
	}
	switch {
	case size != f.l.end:
		return 0, errTruncated
	case f.l.body > int64(n):
		return 0, errTooLong
	}
	f.Meta, err = f.l.parseMeta(buf[:n])
	return n, err
}

// Load reads the file's beginning into buf again and returns the answer's head and as
// much of the body as buf had room for, both parts of buf. The Meta is left as it is.
func (f *File) Load(buf []byte) (head, body []byte, err error) {
	m := f.Meta
	n, err := f.load(buf)
	f.Meta = m
	if err != nil {
		return nil, nil, fmt.Errorf(`cache file "%s" %w`, f.Name, err)
	}
	return buf[f.l.head:f.l.body:f.l.body], buf[f.l.body:n], nil
}

// Head returns where in the buffer that Open filled the answer's head lies.
func (f *File) Head() (start, end int) { return int(f.l.head), int(f.l.body) }

// Body returns where in the file the body lies.
func (f *File) Body() (off, n int64) { return f.l.body, f.l.end - f.l.body }

// Take gives the file away as an os.File; f is closed.
func (f *File) Take() *os.File {
	file := os.NewFile(uintptr(f.fd), f.Name)
	f.fd = -1
	return file
}

// Close closes the file. A nil File is closed.
func (f *File) Close() {
	if f != nil && f.fd >= 0 {
		syscall.Close(f.fd)
		f.fd = -1
	}
}

// checkFile reads a file as the loader does and returns its length. Its key must be the one
// that its name stands for, by itself or for a variant.
func checkFile(name string, want Key) (size int64, err error) {
	buf := make([]byte, 4096)
	for {
		f, _, err := openFile(name, nil, buf)
		if err == errTooLong && len(buf) < 16<<20 {
			buf = make([]byte, 4*len(buf))
			continue
		}
		if err != nil {
			return 0, err
		}
		f.Close()
		if Key(md5.Sum(buf[f.l.key:f.l.head])) != want && f.Variant != want {
			return 0, errForeign
		}
		return f.l.end, nil
	}
}

// writeTimes changes the times of a file in place.
func writeTimes(name string, m *Meta) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf(`open() "%s" failed %s`, name, errlog.Errno(err))
	}
	defer f.Close()
	if _, err = f.WriteAt(m.appendTimes(nil), timesAt); err != nil {
		return fmt.Errorf(`pwrite() "%s" failed %s`, name, errlog.Errno(err))
	}
	return nil
}

// copyFile copies a file between file systems.
func copyFile(to, from string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		return out.Close()
	}
	out.Close()
	os.Remove(to)
	return err
}
