package sticky

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/fnv"
	"net/netip"
	"strconv"
	"strings"

	"limpet/upstream"
)

// Spelling is a way to write a peer's name into a cookie.
type Spelling uint8

// The spellings, by who writes them.
const (
	AddressMD5   Spelling = iota // nginx, NGINX Plus, Angie, Tengine, the balancer in Lua; text=md5 of nginx-sticky-module
	TextMD5                      // nginx-sticky-module-ng: the server line's text
	SockaddrMD5                  // nginx-sticky-module classic: the bytes of the socket address
	AddressSHA1                  // text=sha1 of nginx-sticky-module
	TextSHA1                     // hash=sha1 of -ng
	SockaddrSHA1                 // hash=sha1 of classic
	SockaddrHMAC                 // hmac= of classic
	TextHMAC                     // hmac= of -ng
	KeyedSHA256                  // hmac=sha256, limpet's own
	Plain                        // text=raw, Tengine's hash=plain
	Index                        // hash=index of nginx-sticky-module
	Route                        // route=, sid=, id= or srun_id= of the server line
	AngieSecret                  // sticky_secret
	HAProxy                      // dynamic-cookie-key
	Caddy                        // lb_policy cookie
	Traefik                      // sticky.cookie, also its older ones
	Envoy                        // stateful_session
	NumSpellings
)

// String returns the spelling's label in metrics.
func (s Spelling) String() string {
	return [...]string{"address_md5", "text_md5", "sockaddr_md5", "address_sha1", "text_sha1", "sockaddr_sha1", "sockaddr_hmac",
		"text_hmac", "keyed_sha256", "plain", "index", "route", "angie_secret", "haproxy", "caddy", "traefik", "envoy"}[s]
}

// keys are the keys with which values may have been made.
type keys struct {
	hmac    []string // of nginx-sticky-module and of hmac=sha256
	angie   []string
	haproxy []string
	caddy   []string
}

// spelled is one value that names a peer.
type spelled struct {
	value    string
	spelling Spelling
}

// spellings returns all values that any dialect writes for a peer. position is
// the peer's place among its group's, counted from 0.
func spellings(p *upstream.Peer, position int, k *keys) []spelled {
	addr, text, sock := string(p.Name), p.Server, sockaddr(p)
	if text == "" {
		text = addr
	}
	list := []spelled{
		{md5hex(addr), AddressMD5},
		{md5hex(text), TextMD5},
		{md5hex(sock), SockaddrMD5},
		{sha1hex(addr), AddressSHA1},
		{sha1hex(text), TextSHA1},
		{sha1hex(sock), SockaddrSHA1},
	}
	for _, name := range []string{p.Route, p.ID, p.SrunID} {
		if name != "" {
			list = append(list, spelled{name, Route}, spelled{md5hex(name), AngieSecret})
		}
	}
	list = append(list, keyed(p, addr, text, sock, k)...)
	list = append(list, spelled{base64.StdEncoding.EncodeToString([]byte(addr)), Envoy})
	for _, t := range distinct(addr, text) {
		list = append(list, spelled{hmacHex(sha256.New, "", t), Caddy}, spelled{t, Plain})
		for _, scheme := range []string{"http://", "https://"} {
			for _, end := range []string{"", "/"} {
				list = append(list, traefik(scheme+t+end)...)
			}
		}
	}
	return append(list, spelled{strconv.Itoa(position), Index})
}

// keyed returns the values that depend on keys.
func keyed(p *upstream.Peer, addr, text, sock string, k *keys) []spelled {
	var list []spelled
	for _, key := range k.hmac {
		list = append(list,
			spelled{hmacHex(md5.New, key, sock), SockaddrHMAC}, spelled{hmacHex(sha1.New, key, sock), SockaddrHMAC},
			spelled{hmacHex(md5.New, key, text), TextHMAC}, spelled{hmacHex(sha1.New, key, text), TextHMAC},
			spelled{hmacHex(sha256.New, key, sid(p)), KeyedSHA256})
	}
	for _, key := range k.angie {
		list = append(list, spelled{md5hex(sid(p) + key), AngieSecret})
	}
	for _, key := range k.haproxy {
		if v := haproxyDynamic(p, key); v != "" {
			list = append(list, spelled{v, HAProxy})
		}
	}
	for _, key := range k.caddy {
		for _, t := range distinct(addr, text) {
			list = append(list, spelled{hmacHex(sha256.New, key, t), Caddy})
		}
	}
	return list
}

func distinct(a, b string) []string {
	if a == b {
		return []string{a}
	}
	return []string{a, b}
}

// sid returns the name that nginx and Angie give a peer: its route, else the MD5
// of its address.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#sticky
func sid(p *upstream.Peer) string {
	if p.Route != "" {
		return p.Route
	}
	return md5hex(string(p.Name))
}

func md5hex(s string) string  { h := md5.Sum([]byte(s)); return hex.EncodeToString(h[:]) }
func sha1hex(s string) string { h := sha1.Sum([]byte(s)); return hex.EncodeToString(h[:]) }

func hmacHex(h func() hash.Hash, key, s string) string {
	m := hmac.New(h, []byte(key))
	m.Write([]byte(s))
	return hex.EncodeToString(m.Sum(nil))
}

// traefik returns the values that Traefik writes for a server's URL, and those
// that it wrote in earlier releases: FNV-1 once and twice over, the URL itself.
// https://doc.traefik.io/traefik/routing/services/#sticky-sessions
func traefik(url string) []spelled {
	sum := sha256.Sum256([]byte(url))
	once := fnvHex(url)
	return []spelled{{hex.EncodeToString(sum[:])[:16], Traefik}, {once, Traefik}, {fnvHex(once), Traefik}, {url, Traefik}}
}

func fnvHex(s string) string {
	h := fnv.New64()
	h.Write([]byte(s))
	return strconv.FormatUint(h.Sum64(), 16)
}

// haproxyDynamic returns HAProxy's value for a peer under a dynamic-cookie-key;
// "" for a UNIX-domain socket, which has none.
// https://docs.haproxy.org/2.8/configuration.html#4.2-dynamic-cookie-key
func haproxyDynamic(p *upstream.Peer, key string) string {
	a, err := netip.ParseAddrPort(p.Addr)
	if err != nil {
		return ""
	}
	b := append([]byte(key), a.Addr().Unmap().AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, uint32(a.Port()))
	return fmt.Sprintf("%016x", xxh64(b))
}

// sockaddr returns the bytes of a peer's socket address as Linux lays them out
// on a little-endian machine: sockaddr_in, sockaddr_in6 or sockaddr_un of <sys/socket.h>.
func sockaddr(p *upstream.Peer) string {
	if p.Network == "unix" {
		b := make([]byte, 110)
		b[0] = 1
		copy(b[2:], strings.TrimPrefix(p.Addr, "unix:"))
		return string(b)
	}
	a, err := netip.ParseAddrPort(p.Addr)
	if err != nil { // offline: the name wasn't resolved
		return p.Addr
	}
	if ip := a.Addr(); ip.Is4() {
		b := make([]byte, 16)
		b[0] = 2
		binary.BigEndian.PutUint16(b[2:], a.Port())
		copy(b[4:], ip.AsSlice())
		return string(b)
	}
	b := make([]byte, 28)
	b[0] = 10
	binary.BigEndian.PutUint16(b[2:], a.Port())
	copy(b[8:], a.Addr().AsSlice())
	return string(b)
}
