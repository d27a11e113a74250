package process

import (
	"math"
	"os"
	"testing"
)

func TestMemoryLimitIsTheSmallestOnTheWayUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"none", nil, math.MaxInt64},
		{"a container's own view", map[string]string{"/sys/fs/cgroup/memory.max": "1048576\n"}, 1 << 20},
		{"no limit", map[string]string{"/sys/fs/cgroup/memory.max": "max\n"}, math.MaxInt64},
		{"a service in a slice", map[string]string{"/proc/self/cgroup": "0::/system.slice/limpet.service\n",
			"/sys/fs/cgroup/system.slice/limpet.service/memory.max": "max\n", "/sys/fs/cgroup/system.slice/memory.max": "4096\n"}, 4096},
		{"version 1", map[string]string{"/sys/fs/cgroup/memory/memory.limit_in_bytes": "8192\n"}, 8192},
		{"version 1 without a limit", map[string]string{"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, math.MaxInt64},
	} {
		got := groupLimit(func(name string) ([]byte, error) {
			if text, ok := c.files[name]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		})
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
