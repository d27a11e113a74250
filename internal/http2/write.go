package http2

import (
	"encoding/binary"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"limpet/internal/ngx"
)

// appendFrame appends a frame's header, RFC 9113 section 4.1.
func appendFrame(b []byte, length int, kind http2.FrameType, flags http2.Flags, id uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags), byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// settings appends our settings and opens the connection's window. mu is held.
func (c *Conn) settings() {
	window := uint32(min(c.conf.PrereadSize.V, maxWindow))
	settings := [...]http2.Setting{
		{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.conf.MaxStreams.V)},
		{ID: http2.SettingInitialWindowSize, Val: window},
		{ID: http2.SettingMaxFrameSize, Val: maxReadFrame},
	}
	c.out = appendFrame(c.out, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(s.ID))
		c.out = binary.BigEndian.AppendUint32(c.out, s.Val)
	}
	c.appendWindow(0, connWindow-defaultWindow)
}

func (c *Conn) appendWindow(id uint32, n int64) {
	c.out = appendFrame(c.out, 4, http2.FrameWindowUpdate, 0, id)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(n))
}

func (c *Conn) appendReset(id uint32, code http2.ErrCode) {
	c.out = appendFrame(c.out, 4, http2.FrameRSTStream, 0, id)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

func (c *Conn) appendGoAway(code http2.ErrCode) {
	c.out = appendFrame(c.out, 8, http2.FrameGoAway, 0, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, c.lastID)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

// flushTogether is flush behind the goroutines that can run: what other streams of the connection have to send goes
// along. mu is held, and released meanwhile.
func (c *Conn) flushTogether(s *stream) error {
	if c.running > 1 && !c.writing && !c.contended() {
		c.writing = true
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		c.writing = false
	}
	return c.flush(s)
}

// appendInt appends an integer with a prefix of n bits, RFC 7541 section 5.1.
func appendInt(b []byte, first byte, n uint, v int) []byte {
	limit := 1<<n - 1
	if v < limit {
		return append(b, first|byte(v))
	}
	b = append(b, first|byte(limit))
	for v -= limit; v >= 128; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// appendString appends a string literal, in Huffman's code where that is shorter, RFC 7541 section 5.2.
func appendString(b, s []byte) []byte {
	text := unsafe.String(unsafe.SliceData(s), len(s))
	if n := int(hpack.HuffmanEncodeLength(text)); n < len(s) {
		return hpack.AppendHuffmanString(appendInt(b, 0x80, 7, n), text)
	}
	return append(appendInt(b, 0, 7, len(s)), s...)
}

// appendField appends a field that is not indexed. index is the name's place in the static table, 0 for none: the
// name is then lower-cased.
func appendField(b []byte, index int, name, value []byte) []byte {
	b = appendInt(b, 0, 4, index)
	if index == 0 {
		var buf [64]byte
		low := buf[:0]
		for _, c := range name {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			low = append(low, c)
		}
		b = appendString(b, low)
	}
	return appendString(b, value)
}

// staticName returns the place of a field's name in the static table, RFC 7541 appendix A; 0 for none.
func staticName(id ngx.HeaderID) int {
	switch id {
	case ngx.HeaderAcceptRanges:
		return 18
	case ngx.HeaderCacheControl:
		return 24
	case ngx.HeaderContentEncoding:
		return 26
	case ngx.HeaderContentLanguage:
		return 27
	case ngx.HeaderContentRange:
		return 30
	case ngx.HeaderContentType:
		return 31
	case ngx.HeaderDate:
		return 33
	case ngx.HeaderETag:
		return 34
	case ngx.HeaderExpires:
		return 36
	case ngx.HeaderLastModified:
		return 44
	case ngx.HeaderLink:
		return 45
	case ngx.HeaderLocation:
		return 46
	case ngx.HeaderRefresh:
		return 52
	case ngx.HeaderRetryAfter:
		return 53
	case ngx.HeaderServer:
		return 54
	case ngx.HeaderSetCookie:
		return 55
	case ngx.HeaderVary:
		return 59
	case ngx.HeaderVia:
		return 60
	case ngx.HeaderWWWAuthenticate:
		return 61
	}
	return 0
}

// appendStatus appends :status.
func appendStatus(b []byte, status int) []byte {
	for i, s := range [...]int{200, 204, 206, 304, 400, 404, 500} {
		if s == status {
			return append(b, 0x88+byte(i))
		}
	}
	b = append(b, 8, 3)
	return strconv.AppendInt(b, int64(status), 10)
}

// wireStatus is a status as it is sent: nginx's own are 400.
func wireStatus(status int) int {
	if status >= 494 && status <= 497 {
		return 400
	}
	return status
}

// appendHead appends the header block of a response, in nginx's order.
func appendHead(b []byte, r *ngx.Request) []byte {
	o := &r.Out
	b = appendStatus(b, wireStatus(o.Status))
	var buf [256]byte
	server := o.Server
	if server == nil {
		server = append(buf[:0], ngx.ServerField(r.Scope.Core.ServerTokens.V)...)
	}
	if len(server) > 0 {
		b = appendField(b, 54, nil, server)
	}
	date := o.Date
	if date == nil {
		date = ngx.DateField()
	}
	if len(date) > 0 {
		b = appendField(b, 33, nil, date)
	}
	if o.ContentType != nil {
		v := append(buf[:0], o.ContentType...)
		if len(o.Charset) > 0 {
			v = append(append(v, "; charset="...), o.Charset...)
		}
		b = appendField(b, 31, nil, v)
	}
	if o.Length >= 0 {
		b = appendField(b, 28, nil, strconv.AppendInt(buf[:0], o.Length, 10))
	}
	if !o.LastModified.IsZero() && !o.Header.Has(ngx.HeaderLastModified) { // else it is among the others, as the peer wrote it
		b = appendField(b, 44, nil, o.LastModified.In(time.UTC).AppendFormat(buf[:0], ngx.TimeFormat))
	}
	if o.Location != nil {
		b = appendField(b, 46, nil, ngx.AppendLocation(buf[:0], r))
	}
	return appendFields(b, &o.Header)
}

// appendFields appends fields but those that belong to a connection, RFC 9113 section 8.2.2.
func appendFields(b []byte, h *ngx.Header) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		switch {
		case f.Hidden, f.ID == ngx.HeaderConnection, f.ID == ngx.HeaderKeepAlive, f.ID == ngx.HeaderTransferEncoding,
			f.ID == ngx.HeaderUpgrade, f.ID == ngx.HeaderProxyConnection:
			continue
		}
		b = appendField(b, staticName(f.ID), f.Name, f.Value)
	}
	return b
}

// appendBlock appends HEADERS and, where the block doesn't fit, CONTINUATION frames. mu is held.
func (c *Conn) appendBlock(id uint32, block []byte, end bool) {
	if c.tableSize { // our table stays empty
		c.tableSize = false
		block = append([]byte{0x20}, block...)
	}
	kind, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		n := min(len(block), c.maxFrame)
		if n == len(block) {
			flags |= http2.FlagHeadersEndHeaders
		}
		c.out = appendFrame(c.out, n, kind, flags, id)
		c.out = append(c.out, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return
		}
		kind, flags = http2.FrameContinuation, 0
	}
}
