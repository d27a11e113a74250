package lua

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"
)

// maxNesting is cjson's default for both ways.
const maxNesting = 1000

// openJSON returns lua-cjson: encode, decode, null, empty_array; safe is cjson.safe, which returns errors.
// https://github.com/openresty/lua-cjson
func (m *machine) openJSON(safe bool) *lua.LTable {
	L := m.L
	t := L.NewTable()
	t.RawSetString("null", m.null)
	t.RawSetString("_NAME", lua.LString("cjson"))
	t.RawSetString("_VERSION", lua.LString("2.1.0.14"))
	empty := L.NewUserData()
	t.RawSetString("empty_array", empty)
	if m.arrays == nil {
		m.arrays, m.empties, m.emptyArray = L.NewTable(), L.NewTable(), empty
	}
	t.RawSetString("empty_array", m.emptyArray)
	t.RawSetString("array_mt", m.arrays)
	t.RawSetString("empty_array_mt", m.empties)
	options := &jsonOptions{emptyAsObject: true}
	m.set(t, "encode", func(L *lua.LState) int {
		e := jsonEncoder{m: m, options: options}
		L.CheckAny(1)
		if e.value(L.Get(1), 0); e.err != "" {
			if safe {
				return fail(L, e.err)
			}
			raise(L, "%s", e.err)
		}
		return str(L, e.b.String())
	})
	m.set(t, "decode", func(L *lua.LState) int {
		d := jsonDecoder{m: m, options: options, s: m.checkString(L, 1)}
		v, ok := d.document()
		if !ok {
			if safe {
				return fail(L, d.err)
			}
			raise(L, "%s", d.err)
		}
		L.Push(v)
		return 1
	})
	flag := func(name string, f *bool) {
		m.set(t, name, func(L *lua.LState) int {
			if L.GetTop() > 0 {
				*f = L.ToBool(1)
			}
			L.Push(lua.LBool(*f))
			return 1
		})
	}
	flag("encode_empty_table_as_object", &options.emptyAsObject)
	flag("decode_array_with_array_mt", &options.arrayMT)
	flag("encode_escape_forward_slash", &options.plainSlash)
	for _, name := range []string{"encode_number_precision", "encode_max_depth", "decode_max_depth", "encode_sparse_array", "encode_keep_buffer", "encode_invalid_numbers", "decode_invalid_numbers"} {
		m.set(t, name, func(L *lua.LState) int { L.Push(L.Get(1)); return 1 })
	}
	m.set(t, "new", func(L *lua.LState) int { L.Push(m.openJSON(safe)); return 1 })
	return t
}

type jsonOptions struct {
	emptyAsObject, arrayMT, plainSlash bool
}

type jsonEncoder struct {
	m       *machine
	options *jsonOptions
	b       strings.Builder
	err     string
}

func (e *jsonEncoder) fail(msg string) {
	if e.err == "" {
		e.err = msg
	}
}

func (e *jsonEncoder) value(v lua.LValue, depth int) {
	switch v := v.(type) {
	case lua.LString:
		e.str(string(v))
	case lua.LNumber:
		if f := float64(v); f != f || math.IsInf(f, 0) {
			e.fail("Cannot serialise number: must not be NaN or Infinity")
			return
		}
		e.b.WriteString(numText(v))
	case lua.LBool:
		e.b.WriteString(v.String())
	case *lua.LNilType:
		e.b.WriteString("null")
	case *lua.LTable:
		e.table(v, depth+1)
	case *lua.LUserData:
		switch v {
		case e.m.null:
			e.b.WriteString("null")
		case e.m.emptyArray:
			e.b.WriteString("[]")
		default:
			e.fail("Cannot serialise userdata: type not supported")
		}
	default:
		e.fail("Cannot serialise " + v.Type().String() + ": type not supported")
	}
	if e.b.Len() > maxString {
		e.fail("not enough memory")
	}
}

// table writes an array where all keys are positive numbers, else an object.
func (e *jsonEncoder) table(t *lua.LTable, depth int) {
	if depth > maxNesting {
		e.fail("Cannot serialise, excessive depth (1001)")
		return
	}
	e.m.whole(t)
	n, count, array := 0, 0, true
	t.ForEach(func(k, _ lua.LValue) {
		count++
		if f, ok := k.(lua.LNumber); ok && f >= 1 && float64(f) == math.Trunc(float64(f)) {
			n = max(n, int(f))
		} else {
			array = false
		}
	})
	switch {
	case t.Metatable == e.m.arrays, count == 0 && (t.Metatable == e.m.empties || !e.options.emptyAsObject):
		e.array(t, t.Len(), depth)
	case count > 0 && array && n > 10 && n > count*2:
		e.fail("Cannot serialise table: excessively sparse array")
	case count > 0 && array:
		e.array(t, n, depth)
	default:
		e.object(t, depth)
	}
}

func (e *jsonEncoder) array(t *lua.LTable, n, depth int) {
	e.b.WriteByte('[')
	for i := 1; i <= n && e.err == ""; i++ {
		if i > 1 {
			e.b.WriteByte(',')
		}
		e.value(t.RawGetInt(i), depth)
	}
	e.b.WriteByte(']')
}

func (e *jsonEncoder) object(t *lua.LTable, depth int) {
	e.b.WriteByte('{')
	first := true
	t.ForEach(func(k, v lua.LValue) {
		if e.err != "" {
			return
		}
		name, ok := text(k)
		if !ok {
			e.fail("Cannot serialise " + k.Type().String() + ": table key must be a number or string")
			return
		}
		if !first {
			e.b.WriteByte(',')
		}
		first = false
		e.str(name)
		e.b.WriteByte(':')
		e.value(v, depth)
	})
	e.b.WriteByte('}')
}

func (e *jsonEncoder) str(s string) {
	e.b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			e.b.WriteByte('\\')
			e.b.WriteByte(c)
		case c == '/':
			e.b.WriteString(`\/`)
		case c == '\b':
			e.b.WriteString(`\b`)
		case c == '\f':
			e.b.WriteString(`\f`)
		case c == '\n':
			e.b.WriteString(`\n`)
		case c == '\r':
			e.b.WriteString(`\r`)
		case c == '\t':
			e.b.WriteString(`\t`)
		case c < 0x20 || c == 0x7f:
			const hexDigits = "0123456789abcdef"
			e.b.WriteString(`\u00` + string(hexDigits[c>>4]) + string(hexDigits[c&15]))
		default:
			e.b.WriteByte(c)
		}
	}
	e.b.WriteByte('"')
}

// jsonDecoder reads one document. Errors are cjson's: what was expected, what was found, at which character.
type jsonDecoder struct {
	m       *machine
	options *jsonOptions
	s       string
	i       int
	err     string
}

func (d *jsonDecoder) document() (lua.LValue, bool) {
	v, ok := d.value(1)
	if !ok {
		return nil, false
	}
	if d.blanks(); d.i < len(d.s) {
		return nil, d.expected("the end", d.i)
	}
	return v, true
}

func (d *jsonDecoder) blanks() {
	for d.i < len(d.s) && strings.IndexByte(" \t\r\n", d.s[d.i]) >= 0 {
		d.i++
	}
}

// expected notes an error and returns false.
func (d *jsonDecoder) expected(what string, at int) bool {
	if d.err != "" {
		return false
	}
	found := "invalid token"
	if at >= len(d.s) {
		found = "T_END"
	} else {
		switch d.s[at] {
		case '{':
			found = "T_OBJ_BEGIN"
		case '}':
			found = "T_OBJ_END"
		case '[':
			found = "T_ARR_BEGIN"
		case ']':
			found = "T_ARR_END"
		case '"':
			found = "T_STRING"
		case ':':
			found = "T_COLON"
		case ',':
			found = "T_COMMA"
		}
	}
	d.err = "Expected " + what + " but found " + found + " at character " + strconv.Itoa(at+1)
	return false
}

func (d *jsonDecoder) value(depth int) (lua.LValue, bool) {
	d.blanks()
	at := d.i
	if at >= len(d.s) {
		return nil, d.expected("value", at)
	}
	if depth > maxNesting {
		d.err = "Found too many nested data structures (1001)"
		return nil, false
	}
	switch c := d.s[at]; {
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.array(depth)
	case c == '"':
		s, ok := d.str()
		return lua.LString(s), ok
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	}
	for word, v := range map[string]lua.LValue{"true": lua.LTrue, "false": lua.LFalse, "null": d.m.null} {
		if strings.HasPrefix(d.s[at:], word) {
			d.i += len(word)
			return v, true
		}
	}
	return nil, d.expected("value", at)
}

func (d *jsonDecoder) number() (lua.LValue, bool) {
	start := d.i
	for d.i < len(d.s) && strings.IndexByte("+-0123456789.eExXabcdfABCDF", d.s[d.i]) >= 0 {
		d.i++
	}
	f, err := strconv.ParseFloat(d.s[start:d.i], 64)
	if err != nil && !math.IsInf(f, 0) {
		d.i = start
		d.err = "Expected value but found invalid number at character " + strconv.Itoa(start+1)
		return nil, false
	}
	return lua.LNumber(f), true
}

func (d *jsonDecoder) object(depth int) (lua.LValue, bool) {
	t := d.m.L.NewTable()
	d.i++
	if d.blanks(); d.i < len(d.s) && d.s[d.i] == '}' {
		d.i++
		return t, true
	}
	for {
		if d.blanks(); d.i >= len(d.s) || d.s[d.i] != '"' {
			return nil, d.expected("object key string", d.i)
		}
		key, ok := d.str()
		if !ok {
			return nil, false
		}
		if d.blanks(); d.i >= len(d.s) || d.s[d.i] != ':' {
			return nil, d.expected("colon", d.i)
		}
		d.i++
		v, ok := d.value(depth + 1)
		if !ok {
			return nil, false
		}
		t.RawSetString(key, v)
		if d.blanks(); d.i < len(d.s) && d.s[d.i] == ',' {
			d.i++
			continue
		}
		if d.i < len(d.s) && d.s[d.i] == '}' {
			d.i++
			return t, true
		}
		return nil, d.expected("comma or object end", d.i)
	}
}

func (d *jsonDecoder) array(depth int) (lua.LValue, bool) {
	t := d.m.L.NewTable()
	if d.options.arrayMT {
		t.Metatable = d.m.arrays
	}
	d.i++
	if d.blanks(); d.i < len(d.s) && d.s[d.i] == ']' {
		d.i++
		return t, true
	}
	for n := 1; ; n++ {
		v, ok := d.value(depth + 1)
		if !ok {
			return nil, false
		}
		t.RawSetInt(n, v)
		if d.blanks(); d.i < len(d.s) && d.s[d.i] == ',' {
			d.i++
			continue
		}
		if d.i < len(d.s) && d.s[d.i] == ']' {
			d.i++
			return t, true
		}
		return nil, d.expected("comma or array end", d.i)
	}
}

func (d *jsonDecoder) str() (string, bool) {
	start := d.i
	var b []byte
	for d.i++; d.i < len(d.s); d.i++ {
		c := d.s[d.i]
		switch {
		case c == '"':
			d.i++
			return string(b), true
		case c == '\\':
			var ok bool
			if b, ok = d.escape(b); !ok {
				return "", false
			}
		default:
			b = append(b, c)
		}
	}
	d.err = "Expected value but found unexpected end of string at character " + strconv.Itoa(len(d.s)+1)
	_ = start
	return "", false
}

// escape reads what follows a backslash; d.i is left at its last byte.
func (d *jsonDecoder) escape(b []byte) ([]byte, bool) {
	d.i++
	if d.i < len(d.s) {
		switch c := d.s[d.i]; c {
		case '"', '\\', '/':
			return append(b, c), true
		case 'b':
			return append(b, '\b'), true
		case 'f':
			return append(b, '\f'), true
		case 'n':
			return append(b, '\n'), true
		case 'r':
			return append(b, '\r'), true
		case 't':
			return append(b, '\t'), true
		case 'u':
			if r, ok := d.unit(d.i + 1); ok {
				d.i += 4
				if utf16.IsSurrogate(r) {
					if strings.HasPrefix(d.s[min(d.i+1, len(d.s)):], `\u`) {
						if r2, ok := d.unit(d.i + 3); ok {
							if full := utf16.DecodeRune(r, r2); full != utf8.RuneError {
								d.i += 6
								return utf8.AppendRune(b, full), true
							}
						}
					}
					break
				}
				return utf8.AppendRune(b, r), true
			}
		}
	}
	d.err = "Expected value but found invalid escape code at character " + strconv.Itoa(d.i)
	return b, false
}

func (d *jsonDecoder) unit(at int) (rune, bool) {
	if at+4 > len(d.s) {
		return 0, false
	}
	n, err := strconv.ParseUint(d.s[at:at+4], 16, 32)
	return rune(n), err == nil
}
