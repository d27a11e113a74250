package http1

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// proxySignature begins a PROXY protocol header of version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// readProxy reads the PROXY protocol header that a connection begins with,
// https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt. False ends the connection.
func (c *conn) readProxy(ep *ngx.Endpoint) bool {
	buf := make([]byte, 0, 4096)
	for {
		h, n, ok := parseProxy(buf)
		if !ok {
			c.log().Printf(errlog.Error, c.client.ID, `broken header: "%s" while reading PROXY protocol, client: %s, server: %s`,
				firstLine(buf), c.client.Text, c.client.Listener.Addr)
			return false
		}
		if n > 0 {
			c.client.Proxy = h
			if n < len(buf) {
				c.tc.Unread(buf[n:])
			}
			return true
		}
		if len(buf) == cap(buf) {
			return false
		}
		m, err := c.tc.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+m]
		if m == 0 || err != nil {
			return false
		}
	}
}

// parseProxy parses a header of either version; n is 0 while bytes are missing.
func parseProxy(b []byte) (h *ngx.ProxyHeader, n int, ok bool) {
	sig := min(len(b), len(proxySignature))
	if sig > 0 && string(b[:sig]) == proxySignature[:sig] {
		return parseProxy2(b)
	}
	line := bytes.IndexByte(b, '\n')
	if line < 0 {
		const word = "PROXY "
		k := min(len(b), len(word))
		return nil, 0, len(b) < 107 && string(b[:k]) == word[:k]
	}
	if line == 0 || b[line-1] != '\r' || line > 106 {
		return nil, 0, false
	}
	f := strings.Split(string(b[:line-1]), " ")
	if f[0] != "PROXY" || len(f) < 2 {
		return nil, 0, false
	}
	if f[1] == "UNKNOWN" {
		return &ngx.ProxyHeader{}, line + 1, true
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return nil, 0, false
	}
	src, err1 := netip.ParseAddrPort(joinPort(f[2], f[4]))
	dst, err2 := netip.ParseAddrPort(joinPort(f[3], f[5]))
	if err1 != nil || err2 != nil {
		return nil, 0, false
	}
	return &ngx.ProxyHeader{Source: src, Dest: dst}, line + 1, true
}

func joinPort(addr, port string) string {
	if strings.Contains(addr, ":") {
		return "[" + addr + "]:" + port
	}
	return addr + ":" + port
}

// parseProxy2 parses the binary form.
func parseProxy2(b []byte) (h *ngx.ProxyHeader, n int, ok bool) {
	if len(b) < 16 {
		return nil, 0, true
	}
	if b[12]>>4 != 2 {
		return nil, 0, false
	}
	size := int(binary.BigEndian.Uint16(b[14:]))
	if size > 4096-16 {
		return nil, 0, false
	}
	if len(b) < 16+size {
		return nil, 0, true
	}
	h, body := &ngx.ProxyHeader{}, b[16:16+size]
	if b[12]&0xf != 1 { // LOCAL
		return h, 16 + size, true
	}
	alen := 0
	switch b[13] >> 4 {
	case 1:
		alen = 4
	case 2:
		alen = 16
	default:
		return h, 16 + size, true
	}
	if len(body) < 2*alen+4 {
		return nil, 0, false
	}
	src, _ := netip.AddrFromSlice(body[:alen])
	dst, _ := netip.AddrFromSlice(body[alen : 2*alen])
	h.Source = netip.AddrPortFrom(src, binary.BigEndian.Uint16(body[2*alen:]))
	h.Dest = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(body[2*alen+2:]))
	for tlv := body[2*alen+4:]; len(tlv) >= 3; {
		l := int(binary.BigEndian.Uint16(tlv[1:]))
		if len(tlv) < 3+l {
			return nil, 0, false
		}
		h.TLVs = append(h.TLVs, ngx.TLV{Type: tlv[0], Value: bytes.Clone(tlv[3 : 3+l])})
		tlv = tlv[3+l:]
	}
	return h, 16 + size, true
}
