// Placeholder: delete when the real files of this package land.

// Package rx is regular expressions with PCRE's meaning.
package rx

import "regexp"

// Regexp is a compiled pattern.
type Regexp struct{ re *regexp.Regexp }

// Match reports whether subject matches and appends the captures' offsets to caps.
func (re *Regexp) Match(subject []byte, caps []int) ([]int, bool) {
	m := re.re.FindSubmatchIndex(subject)
	return append(caps, m...), m != nil
}
