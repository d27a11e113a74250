package cache

import (
	"fmt"
	"math"
	"strings"
	"time"

	"limpet/nginxconf"
)

// Config is what a cache_path directive says.
type Config struct {
	Dir         string // absolute, without a final slash
	Levels      []int  // lengths of the names of the folders, outermost first
	Zone        string
	ZoneSize    int64
	Inactive    time.Duration
	MaxSize     int64 // bytes on disk
	MinFree     int64 // bytes of the file system
	UseTempPath bool  // files are written in the proxy's folder for temporary files first
	Manager     Pace
	Loader      Pace
	File        string // where the directive stands
	Line        int
}

// Pace bounds a run over files and says how long the next one waits.
type Pace struct {
	Files     int
	Threshold time.Duration
	Sleep     time.Duration
}

// minZone is the size of the smallest zone: two pages.
const minZone = 2 * 4096

// Parse reads the arguments of a cache_path directive. Errors are nginx's.
func Parse(s *nginxconf.Setting) (*Config, error) {
	c := &Config{
		Dir: strings.TrimSuffix(s.Loader.PrefixPath(s.Arg(0)), "/"), Inactive: 10 * time.Minute, MaxSize: math.MaxInt64, UseTempPath: true,
		Manager: Pace{100, 200 * time.Millisecond, 50 * time.Millisecond}, Loader: Pace{100, 200 * time.Millisecond, 50 * time.Millisecond},
		File: s.File, Line: s.Line,
	}
	for i := 1; i < len(s.Args); i++ {
		if err := c.parameter(s.Arg(i)); err != nil {
			return nil, err
		}
	}
	if c.Zone == "" {
		return nil, fmt.Errorf(`"%s" must have "keys_zone" parameter`, s.Name)
	}
	return c, nil
}

// parameter reads one NAME=VALUE.
func (c *Config) parameter(word string) error {
	name, value, found := strings.Cut(word, "=")
	ok := false
	switch {
	case !found:
		return fmt.Errorf(`invalid parameter "%s"`, word)
	case name == "levels":
		if c.Levels, ok = parseLevels(value); !ok {
			return fmt.Errorf(`invalid "levels" "%s"`, word)
		}
		return nil
	case name == "keys_zone":
		return c.zone(word, value)
	case name == "use_temp_path":
		if value != "on" && value != "off" {
			return fmt.Errorf(`invalid use_temp_path value "%s", it must be "on" or "off"`, word)
		}
		c.UseTempPath = value == "on"
		return nil
	case name == "inactive":
		c.Inactive, ok = nginxconf.ParseTime(value, false)
	case name == "max_size":
		c.MaxSize, ok = nginxconf.ParseOffset(value)
	case name == "min_free":
		c.MinFree, ok = nginxconf.ParseOffset(value)
	case name == "manager_files":
		c.Manager.Files, ok = nginxconf.ParseNum(value)
	case name == "manager_sleep":
		c.Manager.Sleep, ok = nginxconf.ParseTime(value, true)
	case name == "manager_threshold":
		c.Manager.Threshold, ok = nginxconf.ParseTime(value, true)
	case name == "loader_files":
		c.Loader.Files, ok = nginxconf.ParseNum(value)
	case name == "loader_sleep":
		c.Loader.Sleep, ok = nginxconf.ParseTime(value, true)
	case name == "loader_threshold":
		c.Loader.Threshold, ok = nginxconf.ParseTime(value, true)
	default:
		return fmt.Errorf(`invalid parameter "%s"`, word)
	}
	if !ok {
		return fmt.Errorf(`invalid %s value "%s"`, name, word)
	}
	return nil
}

func (c *Config) zone(word, value string) error {
	name, text, found := strings.Cut(value, ":")
	if !found {
		return fmt.Errorf(`invalid keys zone size "%s"`, word)
	}
	size, ok := nginxconf.ParseSize(text)
	if !ok {
		return fmt.Errorf(`invalid keys zone size "%s"`, word)
	}
	if size < minZone {
		return fmt.Errorf(`keys zone "%s" is too small`, word)
	}
	c.Zone, c.ZoneSize = name, size
	return nil
}

// parseLevels reads up to three lengths of 1 or 2, parted by colons; nothing is no level.
func parseLevels(text string) ([]int, bool) {
	if text == "" {
		return nil, true
	}
	var levels []int
	for _, l := range strings.Split(text, ":") {
		if l != "1" && l != "2" || len(levels) == 3 {
			return nil, false
		}
		levels = append(levels, int(l[0]-'0'))
	}
	return levels, true
}
