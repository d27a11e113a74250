package nginxconf

import (
	"crypto/sha256"
	"os"
)

// Sum stands for a file's bytes; the zero Sum for a file that can't be read.
type Sum [sha256.Size]byte

// SumOf returns the Sum of bytes.
func SumOf(text []byte) Sum { return sha256.Sum256(text) }

// SumFile returns the Sum of a file as it is at this moment; the zero Sum for what isn't
// a regular file, which reading could block on or use up.
func SumFile(name string) Sum {
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return Sum{}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return Sum{}
	}
	return SumOf(text)
}

// Watched is a file that the configuration depends on besides its own.
type Watched struct {
	Name string
	Sum  Sum // when Watch was called
}

// Watch notes a file (a Lua file, a certificate, a key) whose change is to reload
// the configuration. Call it before the file is read, so that no change in between
// is missed; the file need not be there. Parsers of rows call it by
// Setting.Loader, modules by ngx.Build.
func (c *Config) Watch(name string) {
	for _, w := range c.Watched {
		if w.Name == name {
			return
		}
	}
	c.Watched = append(c.Watched, Watched{name, SumFile(name)})
}

// Watch is Config.Watch while the file is read. Offline, nothing is noted.
func (ld *Loader) Watch(name string) {
	if !ld.Offline {
		ld.config.Watch(name)
	}
}
