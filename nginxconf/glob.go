package nginxconf

import (
	"path/filepath"
	"strings"
)

// Glob expands an include pattern as glob(3) does for nginx: sorted, files with a
// leading dot only when the pattern names the dot, an empty list when nothing
// matches. A name without * ? [ is returned as it is, whether there is such a file or not.
func Glob(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}, nil
	}
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	kept := names[:0]
	for _, n := range names {
		if !hidden(pattern, n) {
			kept = append(kept, n)
		}
	}
	return kept, nil
}

// hidden reports whether a matched name has a dot where the pattern has a wildcard.
func hidden(pattern, name string) bool {
	p, n := strings.Split(pattern, "/"), strings.Split(name, "/")
	if len(p) != len(n) {
		return false
	}
	for i := range p {
		if strings.HasPrefix(n[i], ".") && !strings.HasPrefix(p[i], ".") {
			return true
		}
	}
	return false
}
