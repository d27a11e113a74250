package script

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// memcached is memcached's text protocol as backends speak it: an answer of status 200 is a value, whose flags a field
// Flags names, any other is none.
// https://github.com/memcached/memcached/blob/master/doc/protocol.txt
type memcached struct{}

func (memcached) read(r *bufio.Reader) (*message, error) {
	m := new(message)
	line, err := r.ReadString('\n')
	m.head = append(m.head, line...)
	if err != nil {
		return m, err
	}
	key, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r\n"), "get ")
	if !ok || len(key) == len(line)-len("get \n") {
		return malformed(m, fmt.Errorf("%q", line))
	}
	m.head = nil
	m.param("REQUEST_METHOD", "get")
	m.param("REQUEST_URI", key)
	m.head = append(m.head, '\n')
	return m, nil
}

func (memcached) write(c io.Writer, _ *bufio.Reader, a *answer, m *message) bool {
	value := "END\r\n"
	switch {
	case a.hasRaw:
		io.WriteString(c, a.raw)
		return false
	case a.status == 200:
		flags := "0"
		for _, f := range a.headers {
			if v, ok := strings.CutPrefix(f, "Flags: "); ok {
				flags = v
			}
		}
		head := fmt.Sprintf("VALUE %s %s %d\r\n", m.params["REQUEST_URI"], flags, len(a.body))
		if a.bodyDelay > 0 {
			io.WriteString(c, head)
			time.Sleep(a.bodyDelay)
			head = ""
		}
		value = head + a.body + "\r\nEND\r\n"
	}
	_, err := io.WriteString(c, value)
	return err == nil && !a.noKeep
}
