package rx

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// In UTF mode, which a pattern asks for by (*UTF8), a character above 0x7f is
// the sequence of its bytes, so that matching goes by bytes in this mode, too.

func decodeRune(s string) (rune, int) { return utf8.DecodeRuneInString(s) }

// runeNode is one character.
func (p *parser) runeNode(r rune) *node {
	if r < 0x80 {
		return p.char(byte(r))
	}
	if !p.opt.caseless {
		return sequenceOf(r)
	}
	runes := []rune{r, r}
	low := new(set)
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		if f < 0x80 {
			low.add(byte(f))
		} else {
			runes = append(runes, f, f)
		}
	}
	return utfClass(low, runes, false)
}

func sequenceOf(r rune) *node {
	n := &node{kind: kindConcat}
	for _, b := range utf8.AppendRune(nil, r) {
		n.sub = append(n.sub, &node{kind: kindChar, char: b})
	}
	return n
}

// utfAny is a class escape or dot: its part below 0x80, and all characters above when it has the byte 0xff.
func utfAny(s *set) *node {
	if s.has(0xff) {
		return utfClass(s, []rune{0x80, unicode.MaxRune}, false)
	}
	return utfClass(s, nil, false)
}

// utfClass is a class of the bytes below 0x80 of low and of the ranges of characters above.
func utfClass(low *set, runes []rune, negated bool) *node {
	ascii := &set{low[0], low[1]}
	if negated {
		ascii[0], ascii[1] = ^ascii[0], ^ascii[1]
		runes = complement(runes)
	}
	alts := []*node{{kind: kindSet, set: ascii}}
	for i := 0; i < len(runes); i += 2 {
		alts = appendRange(alts, runes[i], runes[i+1])
	}
	return &node{kind: kindAlternate, sub: alts}
}

// complement returns the ranges from 0x80 up that runes leaves.
func complement(runes []rune) []rune {
	type span struct{ lo, hi rune }
	var spans []span
	for i := 0; i < len(runes); i += 2 {
		spans = append(spans, span{runes[i], runes[i+1]})
	}
	slices.SortFunc(spans, func(a, b span) int { return int(a.lo - b.lo) })
	var out []rune
	next := rune(0x80)
	for _, s := range spans {
		if s.lo > next {
			out = append(out, next, s.lo-1)
		}
		next = max(next, s.hi+1)
	}
	if next <= unicode.MaxRune {
		out = append(out, next, unicode.MaxRune)
	}
	return out
}

// appendRange appends sequences of byte sets that are the characters from lo to hi, both above 0x7f.
func appendRange(alts []*node, lo, hi rune) []*node {
	for _, top := range []rune{0x7ff, 0xffff, unicode.MaxRune} {
		if lo > top {
			continue
		}
		alts = appendSpan(alts, utf8.AppendRune(nil, lo), utf8.AppendRune(nil, min(hi, top)))
		if hi <= top {
			break
		}
		lo = top + 1
	}
	return alts
}

// appendSpan appends the sequences between two of the same length.
func appendSpan(alts []*node, lo, hi []byte) []*node {
	for i := range lo {
		if lo[i] == hi[i] {
			continue
		}
		whole := true
		for k := i + 1; k < len(lo); k++ {
			whole = whole && lo[k] == 0x80 && hi[k] == 0xbf
		}
		if whole {
			break
		}
		// The first byte's range is parted so that what follows is complete.
		lowEnd, highStart := slices.Clone(lo), slices.Clone(hi)
		for k := i + 1; k < len(lo); k++ {
			lowEnd[k], highStart[k] = 0xbf, 0x80
		}
		alts = appendSpan(alts, lo, lowEnd)
		if hi[i]-lo[i] > 1 {
			a, b := slices.Clone(highStart), slices.Clone(lowEnd)
			a[i], b[i] = lo[i]+1, hi[i]-1
			alts = appendSpan(alts, a, b)
		}
		return appendSpan(alts, highStart, hi)
	}
	n := &node{kind: kindConcat}
	for i := range lo {
		n.sub = append(n.sub, &node{kind: kindSet, set: ranges(lo[i], hi[i])})
	}
	return append(alts, n)
}
