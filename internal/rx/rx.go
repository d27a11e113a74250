// Package rx is regular expressions with PCRE's meaning.
package rx

import "regexp"

// Placeholder: delete when the real files of this package land.

// Flags change how a pattern matches.
type Flags uint8

// Caseless ignores case.
const Caseless Flags = 1

// Name is a named group.
type Name struct {
	Name  string
	Index int
}

// Regexp is a compiled pattern.
type Regexp struct{ re *regexp.Regexp }

// Compile compiles a pattern.
func Compile(pattern string, flags Flags) (*Regexp, error) {
	if flags&Caseless != 0 {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	return &Regexp{re}, err
}

// Names returns the named groups.
func (re *Regexp) Names() []Name {
	var names []Name
	for i, n := range re.re.SubexpNames() {
		if n != "" {
			names = append(names, Name{n, i})
		}
	}
	return names
}

// NumCaptures returns the number of groups.
func (re *Regexp) NumCaptures() int { return re.re.NumSubexp() }

// Match reports whether subject matches and appends the captures' offsets to caps.
func (re *Regexp) Match(subject []byte, caps []int) ([]int, bool) {
	m := re.re.FindSubmatchIndex(subject)
	return append(caps, m...), m != nil
}
