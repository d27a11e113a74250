package script

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// fastCGI is FastCGI as backends speak it. As PHP-FPM does, they pad contents to multiples of eight bytes.
// https://fastcgi-archives.github.io/FastCGI_Specification.html
type fastCGI struct{}

// Types of records.
const (
	fcgiBegin  = 1
	fcgiEnd    = 3
	fcgiParams = 4
	fcgiStdin  = 5
	fcgiStdout = 6
	fcgiStderr = 7
)

// record is a record of FastCGI, or something else that a file of records has.
type record struct {
	version, kind, padding byte
	id                     uint16
	content                string
	bare                   bool          // the content goes out without a header
	sleep                  time.Duration // in place of a record
}

// append appends the record as it is on the wire.
func (f *record) append(b []byte) []byte {
	if f.bare {
		return append(b, f.content...)
	}
	b = append(b, f.version, f.kind)
	b = binary.BigEndian.AppendUint16(b, f.id)
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.content)))
	b = append(b, f.padding, 0)
	b = append(b, f.content...)
	return append(b, make([]byte, f.padding)...)
}

// readRecord reads a record of version 1.
func readRecord(r *bufio.Reader) (f record, err error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return f, err
	}
	f = record{version: h[0], kind: h[1], id: binary.BigEndian.Uint16(h[2:]), padding: h[6]}
	n := int(binary.BigEndian.Uint16(h[4:]))
	b := make([]byte, n+int(f.padding))
	if _, err := io.ReadFull(r, b); err != nil {
		return f, io.ErrUnexpectedEOF
	}
	f.content = string(b[:n])
	if f.version != 1 {
		return f, fmt.Errorf("a record of version %d", f.version)
	}
	return f, nil
}

func (s fastCGI) read(r *bufio.Reader) (*message, error) {
	m := new(message)
	begin, err := readRecord(r)
	switch {
	case err == io.EOF:
		return m, err
	case err != nil:
		return malformed(m, err)
	case begin.kind != fcgiBegin || len(begin.content) != 8:
		return malformed(m, fmt.Errorf("it begins with a record of type %d and %d bytes", begin.kind, len(begin.content)))
	}
	m.param("fastcgi.role", strconv.Itoa(int(binary.BigEndian.Uint16([]byte(begin.content)))))
	m.param("fastcgi.keep_conn", strconv.Itoa(int(begin.content[2]&1)))
	params, err := s.stream(r, begin.id, fcgiParams)
	if err != nil {
		return malformed(m, err)
	}
	if err := m.pairs(params); err != nil {
		return malformed(m, err)
	}
	m.head = append(m.head, '\n')
	m.wire, err = s.stream(r, begin.id, fcgiStdin)
	return m, err
}

// stream reads the records of a stream to its end.
func (fastCGI) stream(r *bufio.Reader, id uint16, kind byte) ([]byte, error) {
	var b []byte
	for {
		f, err := readRecord(r)
		switch {
		case err != nil:
			return b, err
		case f.kind != kind || f.id != id:
			return b, fmt.Errorf("a record of type %d and request %d where type %d of %d was expected", f.kind, f.id, kind, id)
		case f.content == "":
			return b, nil
		}
		b = append(b, f.content...)
	}
}

// pairs reads names and values.
func (m *message) pairs(b []byte) error {
	length := func() int {
		switch {
		case len(b) > 0 && b[0] < 128:
			n := int(b[0])
			b = b[1:]
			return n
		case len(b) >= 4:
			n := int(binary.BigEndian.Uint32(b) & (1<<31 - 1))
			b = b[4:]
			return n
		}
		b = nil
		return 1
	}
	for len(b) > 0 {
		name := length()
		value := length()
		if len(b) < name+value {
			return errors.New("a name or a value is cut")
		}
		m.param(string(b[:name]), string(b[name:name+value]))
		b = b[name+value:]
	}
	return nil
}

func (s fastCGI) write(c io.Writer, _ *bufio.Reader, a *answer, m *message) bool {
	keep := m.params["fastcgi.keep_conn"] == "1" && !a.noKeep
	if a.records != nil {
		for _, f := range a.records {
			if f.sleep > 0 {
				time.Sleep(f.sleep)
			} else if _, err := c.Write(f.append(nil)); err != nil {
				return false
			}
		}
		return keep && a.mode != "close"
	}
	if a.hasRaw {
		b := s.append(nil, fcgiStdout, a.raw)
		if a.mode != "close" {
			b = s.end(b)
		}
		_, err := c.Write(b)
		return err == nil && keep && a.mode != "close"
	}
	b := s.append(nil, fcgiStderr, a.stderr)
	head, body := a.cgi("Status: ", m)
	if a.bodyDelay > 0 {
		c.Write(s.append(b, fcgiStdout, head))
		time.Sleep(a.bodyDelay)
		b, head = nil, ""
	}
	b = s.append(b, fcgiStdout, head+body)
	_, err := c.Write(s.end(b))
	return err == nil && keep
}

// append appends records of a stream for a text, none for an empty one.
func (fastCGI) append(b []byte, kind byte, text string) []byte {
	for text != "" {
		n := min(len(text), 0xfff8)
		f := record{version: 1, kind: kind, padding: byte(-n & 7), id: 1, content: text[:n]}
		b = f.append(b)
		text = text[n:]
	}
	return b
}

// end appends the records that end an answer.
func (fastCGI) end(b []byte) []byte {
	b = (&record{version: 1, kind: fcgiStdout, id: 1}).append(b)
	return (&record{version: 1, kind: fcgiEnd, id: 1, content: "\x00\x00\x00\x00\x00\x00\x00\x00"}).append(b)
}

// parseRecords reads a file of records: a line each, of words and a text in Go's quotes.
func parseRecords(text string) ([]record, error) {
	records := []record{}
	for line := range strings.Lines(text) {
		words, quoted, hasText := strings.Cut(strings.TrimSpace(line), `"`)
		f := record{version: 1, id: 1}
		if hasText {
			s, err := strconv.Unquote(`"` + quoted)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
			}
			f.content = s
		}
		for _, w := range strings.Fields(words) {
			if err := f.word(w, hasText); err != nil {
				return nil, err
			}
		}
		if strings.TrimSpace(line) != "" {
			records = append(records, f)
		}
	}
	return records, nil
}

// word takes a word of a file of records.
func (f *record) word(w string, hasText bool) (err error) {
	name, value, _ := strings.Cut(w, "=")
	n := 0
	switch name {
	case "version", "id", "padding", "type":
		if n, err = strconv.Atoi(value); err != nil {
			return err
		}
	}
	switch name {
	case "version":
		f.version = byte(n)
	case "id":
		f.id = uint16(n)
	case "padding":
		f.padding = byte(n)
	case "type":
		f.kind = byte(n)
	case "stdout":
		f.kind = fcgiStdout
	case "stderr":
		f.kind = fcgiStderr
	case "end":
		f.kind = fcgiEnd
		if !hasText {
			f.content = strings.Repeat("\x00", 8)
		}
	case "bytes":
		f.bare = true
	case "sleep":
		f.sleep, err = time.ParseDuration(value)
	default:
		return fmt.Errorf("unknown word %q of a record", w)
	}
	return err
}
