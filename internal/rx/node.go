package rx

// kind is what a node of a parsed pattern is.
type kind uint8

const (
	kindEmpty     kind = iota
	kindChar           // one byte; fold: either case of a letter
	kindSet            // one byte of a set
	kindConcat         // subs in order
	kindAlternate      // the first of subs that leads to a match
	kindRepeat         // sub[0], min to max times
	kindGroup          // capturing group
	kindAtomic         // (?>...)
	kindLook           // lookaround
	kindBackref        // text of group again
	kindCond           // (?(cond)yes|no): sub[0] yes, sub[1] no, sub[2] a lookaround as the condition
	kindBegin          // \A, and ^ outside of multiline
	kindLineBegin      // ^ in multiline
	kindEnd            // $ outside of multiline, and \Z
	kindLineEnd        // $ in multiline
	kindVeryEnd        // \z
	kindWord           // \b, neg: \B
	kindKeep           // \K
	kindFail           // (*FAIL), never matches
	kindBack           // min bytes back, made for lookbehinds
	kindCall           // (?1): a group's pattern again, resolved to sub[0] when all is parsed
)

// node is a part of a parsed pattern.
type node struct {
	kind     kind
	char     byte
	fold     bool
	neg      bool // negative lookaround, \B
	behind   bool // lookbehind
	set      *set
	sub      []*node
	min, max int // of kindRepeat; max -1 is no limit
	mode     mode
	group    int // of kindGroup, kindBackref, kindCond, kindCall
	at       int // offset in the pattern, for errors found later
	name     string
}

// mode is how a quantifier gives back.
type mode uint8

const (
	greedy mode = iota
	lazy
	possessive
)

// set is a set of bytes.
type set [4]uint64

func (s *set) add(c byte)      { s[c>>6] |= 1 << (c & 63) }
func (s *set) has(c byte) bool { return s[c>>6]>>(c&63)&1 != 0 }

func (s *set) addRange(lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		s.add(byte(c))
	}
}

func (s *set) addSet(o *set) {
	for i := range s {
		s[i] |= o[i]
	}
}

func (s *set) invert() {
	for i := range s {
		s[i] = ^s[i]
	}
}

// foldCase adds the other case of each ASCII letter.
func (s *set) foldCase() {
	for c := byte('a'); c <= 'z'; c++ {
		if s.has(c) || s.has(c-32) {
			s.add(c)
			s.add(c - 32)
		}
	}
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isWord(c byte) bool   { return isLetter(c) || isDigit(c) || c == '_' }

// lower returns a byte's lower case in the C locale.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// ranges returns the set of bytes in pairs of bounds.
func ranges(bounds ...byte) *set {
	s := new(set)
	for i := 0; i < len(bounds); i += 2 {
		s.addRange(bounds[i], bounds[i+1])
	}
	return s
}

// namedSet returns the set of a class escape (d, w, s, h, v and their upper case), nil for another letter.
func namedSet(c byte) *set {
	var s *set
	switch c | 0x20 {
	case 'd':
		s = ranges('0', '9')
	case 'w':
		s = ranges('0', '9', 'A', 'Z', 'a', 'z', '_', '_')
	case 's':
		s = ranges('\t', '\r', ' ', ' ')
	case 'h':
		s = ranges('\t', '\t', ' ', ' ', 0xa0, 0xa0)
	case 'v':
		s = ranges('\n', '\r', 0x85, 0x85)
	default:
		return nil
	}
	if c&0x20 == 0 {
		s.invert()
	}
	return s
}

// posixSet returns the set of a POSIX class, nil for an unknown name.
func posixSet(name string) *set {
	switch name {
	case "alpha":
		return ranges('A', 'Z', 'a', 'z')
	case "lower":
		return ranges('a', 'z')
	case "upper":
		return ranges('A', 'Z')
	case "alnum":
		return ranges('0', '9', 'A', 'Z', 'a', 'z')
	case "ascii":
		return ranges(0, 127)
	case "blank":
		return ranges('\t', '\t', ' ', ' ')
	case "cntrl":
		return ranges(0, 31, 127, 127)
	case "digit":
		return ranges('0', '9')
	case "graph":
		return ranges('!', '~')
	case "print":
		return ranges(' ', '~')
	case "punct":
		return ranges('!', '/', ':', '@', '[', '`', '{', '~')
	case "space":
		return ranges('\t', '\r', ' ', ' ')
	case "word":
		return ranges('0', '9', 'A', 'Z', 'a', 'z', '_', '_')
	case "xdigit":
		return ranges('0', '9', 'A', 'F', 'a', 'f')
	}
	return nil
}

// nullable reports whether a node can match the empty string.
func (n *node) nullable() bool {
	switch n.kind {
	case kindChar, kindSet, kindFail:
		return false
	case kindConcat:
		for _, s := range n.sub {
			if !s.nullable() {
				return false
			}
		}
		return true
	case kindAlternate:
		for _, s := range n.sub {
			if s.nullable() {
				return true
			}
		}
		return false
	case kindRepeat:
		return n.min == 0 || n.sub[0].nullable()
	case kindGroup, kindAtomic:
		return n.sub[0].nullable()
	}
	return true
}

// width returns the number of bytes that a node matches when that is always the same.
func (n *node) width() (int, bool) {
	switch n.kind {
	case kindChar, kindSet:
		return 1, true
	case kindConcat:
		total := 0
		for _, s := range n.sub {
			w, ok := s.width()
			if !ok {
				return 0, false
			}
			total += w
		}
		return total, true
	case kindAlternate:
		w, ok := n.sub[0].width()
		for _, s := range n.sub[1:] {
			if v, o := s.width(); !o || v != w {
				return 0, false
			}
		}
		return w, ok
	case kindRepeat:
		w, ok := n.sub[0].width()
		return w * n.min, ok && n.min == n.max
	case kindGroup, kindAtomic, kindCall:
		return n.sub[0].width()
	case kindBackref, kindCond:
		return 0, false
	}
	return 0, true
}
