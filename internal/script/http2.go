package script

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const framesUsage = usageError("usage: frames [-times N] [-data TEXT] [-tls] [-sni NAME] PORT1 METHOD TARGET [Header: value]...")

// frames sends requests by HTTP/2 at once, each on a stream of its own, and prints the frames that come until all have an end.
func frames(r *run, args []string) (string, error) {
	var o requestOptions
	args, err := o.parse(r, args)
	if err != nil {
		return "", err
	}
	if len(args) < 3 {
		return "", framesUsage
	}
	c, err := r.dialHTTP2(args[0], o.dialing)
	if err != nil {
		return "# " + endWord(err) + "\n", err
	}
	defer c.conn.Close()
	c.conn.SetDeadline(time.Now().Add(o.timeout))
	for i := range o.times {
		head, err := r.fields(args[1:])
		if err != nil {
			return "", err
		}
		c.requests = append(c.requests, &stream{id: uint32(2*i + 1), head: head, rest: o.data})
	}
	err = c.converse()
	return c.out.String(), err
}

// dialHTTP2 connects, and begins a TLS session that HTTP/2 was agreed on where one is asked for.
func (r *run) dialHTTP2(address string, d dialing) (*http2Client, error) {
	secure := d.tls
	d.tls = false
	plain, err := r.dial(address, d)
	if err != nil {
		return nil, err
	}
	conn := plain.conn
	if secure {
		t := tls.Client(conn, &tls.Config{ServerName: d.sni, InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		t.SetDeadline(time.Now().Add(patience))
		if err := t.Handshake(); err != nil {
			conn.Close()
			return nil, err
		}
		conn = t
	}
	c := &http2Client{conn: conn, framer: http2.NewFramer(conn, conn), window: 65535}
	c.framer.SetMaxReadFrameSize(1 << 20)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return c, nil
}

// fields encodes the fields of a request. No table is used, so that each stands alone.
func (r *run) fields(args []string) ([]byte, error) {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	list := [][2]string{{":method", args[0]}, {":scheme", "http"}, {":path", r.real(args[1])}, {":authority", "localhost"}}
	for _, h := range args[2:] {
		name, value, ok := strings.Cut(r.real(h), ":")
		if !ok {
			return nil, framesUsage
		}
		list = append(list, [2]string{strings.ToLower(name), strings.TrimSpace(value)})
	}
	for _, f := range list {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
	}
	return b.Bytes(), nil
}

// http2Client is one connection of frames.
type http2Client struct {
	conn     net.Conn
	framer   *http2.Framer
	requests []*stream
	window   int // of the connection: bytes that may be sent
	initial  int // window of a new stream
	out      strings.Builder
}

// stream is a request and how far it got.
type stream struct {
	id     uint32
	head   []byte
	rest   string // what isn't sent of the body
	window int
	ended  bool
}

// converse sends all once the server's settings are known, and reads until every stream has ended.
func (c *http2Client) converse() error {
	if err := c.begin(); err != nil {
		return err
	}
	for !c.ended() {
		f, err := c.framer.ReadFrame()
		if err != nil {
			fmt.Fprintf(&c.out, "# %s\n", endWord(err))
			return fmt.Errorf("not every stream came to its end: %w", err)
		}
		if err := c.take(f); err != nil {
			return err
		}
	}
	return nil
}

// begin exchanges settings.
func (c *http2Client) begin() error {
	// Larger windows than the default ones, so that the server's bounds alone show.
	const window = 16 << 20
	c.initial = c.window
	io.WriteString(c.conn, http2.ClientPreface)
	c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	c.framer.WriteWindowUpdate(0, window)
	f, err := c.framer.ReadFrame()
	if err != nil {
		fmt.Fprintf(&c.out, "# %s\n", endWord(err))
		return fmt.Errorf("no settings: %w", err)
	}
	if err := c.take(f); err != nil {
		return err
	}
	for _, s := range c.requests {
		s.window = c.initial
		if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: s.head, EndStream: s.rest == "", EndHeaders: true}); err != nil {
			return err
		}
	}
	return c.sendBodies()
}

// sendBodies sends of the bodies what the windows allow.
func (c *http2Client) sendBodies() error {
	for _, s := range c.requests {
		for s.rest != "" && !s.ended {
			n := min(len(s.rest), s.window, c.window, 16<<10)
			if n <= 0 {
				break
			}
			s.window -= n
			c.window -= n
			part := s.rest[:n]
			s.rest = s.rest[n:]
			if err := c.framer.WriteData(s.id, s.rest == "", []byte(part)); err != nil {
				return err
			}
		}
	}
	return nil
}

// take prints a frame and does what it asks for.
func (c *http2Client) take(f http2.Frame) error {
	s := c.stream(f.Header().StreamID)
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return c.takeSettings(f)
	case *http2.WindowUpdateFrame:
		fmt.Fprintf(&c.out, "WINDOW_UPDATE %d %d\n", f.StreamID, f.Increment)
		if s != nil {
			s.window += int(f.Increment)
		} else if f.StreamID == 0 {
			c.window += int(f.Increment)
		}
		return c.sendBodies()
	case *http2.MetaHeadersFrame:
		fmt.Fprintf(&c.out, "HEADERS %d %s%s\n", f.StreamID, f.PseudoValue("status"), end(f.StreamEnded()))
		c.note(s, f.StreamEnded())
	case *http2.DataFrame:
		fmt.Fprintf(&c.out, "DATA %d %d%s\n", f.StreamID, len(f.Data()), end(f.StreamEnded()))
		c.note(s, f.StreamEnded())
	case *http2.RSTStreamFrame:
		fmt.Fprintf(&c.out, "RST_STREAM %d %s\n", f.StreamID, f.ErrCode)
		c.note(s, true)
	case *http2.GoAwayFrame:
		fmt.Fprintf(&c.out, "GOAWAY %d %s\n", f.LastStreamID, f.ErrCode)
	default:
		fmt.Fprintf(&c.out, "%s %d\n", f.Header().Type, f.Header().StreamID)
	}
	return nil
}

// takeSettings prints the server's settings and acknowledges them.
func (c *http2Client) takeSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.out.WriteString("SETTINGS")
	err := f.ForeachSetting(func(s http2.Setting) error {
		fmt.Fprintf(&c.out, " %s=%d", s.ID, s.Val)
		if s.ID == http2.SettingInitialWindowSize {
			for _, r := range c.requests {
				r.window += int(s.Val) - c.initial
			}
			c.initial = int(s.Val)
		}
		return nil
	})
	c.out.WriteString("\n")
	return errors.Join(err, c.framer.WriteSettingsAck())
}

func end(ended bool) string {
	if ended {
		return " end"
	}
	return ""
}

func (c *http2Client) stream(id uint32) *stream {
	for _, s := range c.requests {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (c *http2Client) note(s *stream, ended bool) {
	if s != nil && ended {
		s.ended = true
	}
}

// ended reports whether every stream has an end.
func (c *http2Client) ended() bool {
	for _, s := range c.requests {
		if !s.ended {
			return false
		}
	}
	return true
}
