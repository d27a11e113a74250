package corevars

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"limpet/internal/ngx"
)

// proxyProtocolVars are the variables about the PROXY protocol header of the connection.
func proxyProtocolVars() []ngx.Variable {
	addr := func(get func(h *ngx.ProxyHeader) netip.AddrPort) ngx.Getter {
		return func(r *ngx.Request, b []byte) ([]byte, bool) {
			h := r.Client.Proxy
			if h == nil {
				return b, false
			}
			if a := get(h).Addr(); a.IsValid() {
				b = a.AppendTo(b)
			}
			return b, true
		}
	}
	portOf := func(get func(h *ngx.ProxyHeader) netip.AddrPort) ngx.Getter {
		return func(r *ngx.Request, b []byte) ([]byte, bool) {
			h := r.Client.Proxy
			if h == nil {
				return b, false
			}
			return port(b, get(h))
		}
	}
	source := func(h *ngx.ProxyHeader) netip.AddrPort { return h.Source }
	dest := func(h *ngx.ProxyHeader) netip.AddrPort { return h.Dest }
	return []ngx.Variable{
		{Name: "proxy_protocol_addr", Doc: "The client's address in the PROXY protocol.", Get: addr(source)},
		{Name: "proxy_protocol_port", Doc: "The client's port in the PROXY protocol.", Get: portOf(source)},
		{Name: "proxy_protocol_server_addr", Doc: "The server's address in the PROXY protocol.", Get: addr(dest)},
		{Name: "proxy_protocol_server_port", Doc: "The server's port in the PROXY protocol.", Get: portOf(dest)},
		{Name: "proxy_protocol_tlv_", Doc: "An extension of the PROXY protocol, by name or as 0xNN.", Make: tlv},
	}
}

// Types of extensions, https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt section 2.2.
const tlvSSL = 0x20

// tlvType returns the type that a name stands for, also 0xNN; false for neither.
func tlvType(name string, known map[string]byte) (byte, bool) {
	if t, ok := known[name]; ok {
		return t, true
	}
	if hex, ok := strings.CutPrefix(name, "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 8)
		return byte(n), err == nil
	}
	return 0, false
}

// tlv makes the getter of an extension; one inside the SSL extension has the prefix ssl_.
func tlv(name string) ngx.Getter {
	if inner, ok := strings.CutPrefix(name, "ssl_"); ok {
		return sslTLV(inner)
	}
	typ, ok := tlvType(name, map[string]byte{"alpn": 0x01, "authority": 0x02, "unique_id": 0x05, "ssl": tlvSSL, "netns": 0x30})
	if !ok {
		return unknownTLV(name)
	}
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		v, ok := proxyTLV(r, typ)
		return append(b, v...), ok
	}
}

func sslTLV(name string) ngx.Getter {
	verify := name == "verify"
	typ, ok := tlvType(name, map[string]byte{"version": 0x21, "cn": 0x22, "cipher": 0x23, "sig_alg": 0x24, "key_alg": 0x25})
	if !ok && !verify {
		return unknownTLV("ssl_" + name)
	}
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		v, ok := proxyTLV(r, tlvSSL)
		if !ok || len(v) < 5 {
			return b, false
		}
		if verify {
			return strconv.AppendUint(b, uint64(binary.BigEndian.Uint32(v[1:])), 10), true
		}
		for rest := v[5:]; len(rest) >= 3; {
			n := int(binary.BigEndian.Uint16(rest[1:]))
			if len(rest) < 3+n {
				break
			}
			if rest[0] == typ {
				return append(b, rest[3:3+n]...), true
			}
			rest = rest[3+n:]
		}
		return b, false
	}
}

// unknownTLV is the getter of an extension that has no such name: an error each time, as in nginx.
func unknownTLV(name string) ngx.Getter {
	return func(r *ngx.Request, b []byte) ([]byte, bool) {
		if r.Client.Proxy != nil {
			r.Errorf(`unknown PROXY protocol TLV "%s"`, name)
		}
		return b, false
	}
}

func proxyTLV(r *ngx.Request, typ byte) ([]byte, bool) {
	if h := r.Client.Proxy; h != nil {
		for i := range h.TLVs {
			if h.TLVs[i].Type == typ {
				return h.TLVs[i].Value, true
			}
		}
	}
	return nil, false
}
