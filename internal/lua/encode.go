package lua

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

func (m *machine) openEncode(t *lua.LTable) {
	one := func(name string, f func(s string) string) {
		m.set(t, name, func(L *lua.LState) int { return str(L, f(m.loose(L, 1))) })
	}
	m.set(t, "md5", func(L *lua.LState) int { L.Push(m.md5(m.loose(L, 1))); return 1 })
	one("md5_bin", func(s string) string { sum := md5.Sum([]byte(s)); return string(sum[:]) })
	one("sha1_bin", func(s string) string { sum := sha1.Sum([]byte(s)); return string(sum[:]) })
	one("quote_sql_str", quoteSQL)
	for _, name := range []string{"crc32_short", "crc32_long"} {
		m.set(t, name, func(L *lua.LState) int {
			L.Push(lua.LNumber(crc32.ChecksumIEEE([]byte(m.loose(L, 1)))))
			return 1
		})
	}
	m.set(t, "hmac_sha1", func(L *lua.LState) int {
		h := hmac.New(sha1.New, []byte(m.loose(L, 1)))
		h.Write([]byte(m.loose(L, 2)))
		return str(L, string(h.Sum(nil)))
	})
	m.set(t, "encode_base64", func(L *lua.LState) int {
		enc := base64.StdEncoding
		if L.ToBool(2) {
			enc = base64.RawStdEncoding
		}
		return str(L, enc.EncodeToString([]byte(m.loose(L, 1))))
	})
	m.set(t, "decode_base64", func(L *lua.LState) int {
		s, ok := text(L.Get(1))
		if !ok {
			raise(L, "string argument only")
		}
		b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
		if err != nil {
			L.Push(lua.LNil)
			return 1
		}
		return str(L, string(b))
	})
	m.set(t, "escape_uri", func(L *lua.LState) int {
		return str(L, escapeURI(m.loose(L, 1), L.OptInt(2, 2)))
	})
	one("unescape_uri", unescapeURI)
	m.set(t, "encode_args", func(L *lua.LState) int { return str(L, m.encodeArgs(L, L.CheckTable(1))) })
	m.set(t, "decode_args", func(L *lua.LState) int {
		args, cut := m.decodeArgs(m.loose(L, 1), L.OptInt(2, 100))
		return listed(L, args, cut)
	})
}

// maxDigests bounds the digests that a state remembers, and maxDigested the length of what they are of.
const (
	maxDigests  = 256
	maxDigested = 64
)

// md5 is ngx.md5. Balancers ask for the same few addresses at each request.
func (m *machine) md5(s string) lua.LValue {
	if v := m.digests[s]; v != nil {
		return v
	}
	sum := md5.Sum([]byte(s))
	v := lua.LString(hex.EncodeToString(sum[:]))
	if len(s) > maxDigested {
		return v
	}
	if m.digests == nil {
		m.digests = make(map[string]lua.LValue, maxDigests)
	}
	if len(m.digests) >= maxDigests {
		clear(m.digests)
	}
	m.digests[s] = v
	return v
}

// loose is an argument as lua-resty-core takes it: nil is empty, what isn't a string becomes one.
func (m *machine) loose(L *lua.LState, i int) string {
	v := L.Get(i)
	if s, ok := text(v); ok {
		return s
	}
	if v == lua.LNil {
		return ""
	}
	return m.tostring(L, v)
}

// escapeURI escapes for a URI's component (2) or for a whole URI (0).
func escapeURI(s string, kind int) string {
	keep := "-_.!~*'()"
	if kind == 0 {
		keep = "-_.!~*'()/:@&=+$,;"
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		const digits = "0123456789ABCDEF"
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func unescapeURI(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// encodeArgs is ngx.encode_args; keys come in the table's own order.
func (m *machine) encodeArgs(L *lua.LState, t *lua.LTable) string {
	var parts []string
	add := func(key string, v lua.LValue) {
		switch v := v.(type) {
		case lua.LBool:
			if v {
				parts = append(parts, key)
			}
			return
		}
		s, ok := text(v)
		if !ok {
			raise(L, "attempt to use %s as query arg value", v.Type())
		}
		parts = append(parts, key+"="+escapeURI(s, 2))
	}
	m.whole(t).ForEach(func(k, v lua.LValue) {
		name, ok := text(k)
		if !ok || k.Type() != lua.LTString {
			raise(L, "attempt to use a non-string key in the \"args\" option table")
		}
		key := escapeURI(name, 2)
		if list, ok := v.(*lua.LTable); ok {
			for i := 1; i <= list.Len(); i++ {
				add(key, list.RawGetInt(i))
			}
			return
		}
		add(key, v)
	})
	return strings.Join(parts, "&")
}

// decodeArgs is ngx.decode_args; cut tells that there were more than limit.
func (m *machine) decodeArgs(s string, limit int) (args *lua.LTable, cut bool) {
	args = m.L.NewTable()
	n := 0
	for s != "" {
		var part string
		part, s, _ = strings.Cut(s, "&")
		if part == "" {
			continue
		}
		name, value, has := strings.Cut(part, "=")
		if name == "" {
			continue
		}
		if n++; limit > 0 && n > limit {
			return args, true
		}
		if has {
			addValue(m.L, args, unescapeURI(name), lua.LString(unescapeURI(value)))
		} else {
			addValue(m.L, args, unescapeURI(name), lua.LTrue)
		}
	}
	return args, false
}

func quoteSQL(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for i := range len(s) {
		switch c := s[i]; c {
		case 0:
			b.WriteString(`\0`)
		case '\b':
			b.WriteString(`\b`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case 26:
			b.WriteString(`\Z`)
		case '\\', '\'', '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
