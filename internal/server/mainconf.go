package server

import (
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"time"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// User is what the user directive says. It is only looked up by root, as in nginx.
type User struct {
	Name     string
	UID, GID int
	Groups   []int // all of the user's, as initgroups() gives them
}

// Main holds the directives of the process itself.
// https://nginx.org/en/docs/ngx_core_module.html
type Main struct {
	Daemon          conf.Opt[bool]
	Pid             conf.Opt[string]
	User            conf.Opt[User]
	Workers         conf.Opt[int]
	ShutdownTimeout conf.Opt[time.Duration]
	RlimitNofile    conf.Opt[int]
	WorkingDir      conf.Opt[string]
	Connections     conf.Opt[int]
	Debugged        conf.List[debugged]
	hasEvents       bool
}

// Directives lists the directives of the process.
func (c *Main) Directives() []conf.Directive {
	const tuning = "the Go runtime schedules connections"
	return []conf.Directive{
		conf.Flag("daemon", conf.Main, &c.Daemon, "on", "Goes to the background."),
		conf.Custom("pid", conf.Main, conf.Args1, &c.Pid, prefixed, "logs/nginx.pid", "Names the file for the process ID."),
		conf.Custom("user", conf.Main, conf.Args12, &c.User, parseUser, "nobody", "Sets who the process is after the start, when started by root."),
		conf.Custom("worker_processes", conf.Main, conf.Args1, &c.Workers, parseWorkers, "1", "Sets how many processors are used."),
		conf.Msec("worker_shutdown_timeout", conf.Main, &c.ShutdownTimeout, "0", "Bounds the time for requests to end on shutdown and reload."),
		conf.Num("worker_rlimit_nofile", conf.Main, &c.RlimitNofile, "0", "Raises the limit on open files."),
		conf.Str("working_directory", conf.Main, &c.WorkingDir, "", "Sets the current folder."),
		conf.Accepted("master_process", conf.Main, conf.Args1, "one process serves everything"),
		conf.Accepted("timer_resolution", conf.Main, conf.Args1, tuning),
		conf.Accepted("lock_file", conf.Main, conf.Args1, "no lock is needed to accept connections"),
		conf.Accepted("debug_points", conf.Main, conf.Args1, "for debugging nginx itself"),
		conf.Accepted("worker_priority", conf.Main, conf.Args1, tuning),
		conf.Accepted("worker_cpu_affinity", conf.Main, conf.Args1More, tuning),
		conf.Accepted("worker_rlimit_core", conf.Main, conf.Args1, "Go programs set it in the environment"),
		conf.Accepted("env", conf.Main, conf.Args1, "the environment is kept as it is"),
		conf.Accepted("load_module", conf.Main, conf.Args1, "modules are built in; what one would bring is refused by name where it is missing"),
		conf.Accepted("pcre_jit", conf.Main, conf.Args1, "patterns are compiled by limpet's own engines"),
		conf.Accepted("thread_pool", conf.Main, conf.Args23, "files are read in goroutines"),
		conf.Accepted("ssl_engine", conf.Main, conf.Args1, "TLS is Go's own"),
		conf.Block("events", conf.Main, conf.Events, conf.NoArgs, c.openEvents, nil, "Holds what concerns connections."),
		conf.Custom("worker_connections", conf.Events, conf.Args1, &c.Connections, func(s *conf.Setting) (int, error) {
			n, ok := conf.ParseNum(s.Arg(0))
			if !ok {
				return 0, fmt.Errorf(`invalid number "%s"`, s.Arg(0))
			}
			return n, nil
		}, "512", "Bounds the number of connections with clients and with peers: as many as all worker processes of nginx would have together."),
		use(),
		conf.Accepted("multi_accept", conf.Events, conf.Args1, tuning),
		conf.Accepted("accept_mutex", conf.Events, conf.Args1, tuning),
		conf.Accepted("accept_mutex_delay", conf.Events, conf.Args1, tuning),
		conf.Accepted("epoll_events", conf.Events, conf.Args1, tuning),
		conf.Accepted("worker_aio_requests", conf.Events, conf.Args1, tuning),
		conf.Many("debug_connection", conf.Events, conf.Args1, &c.Debugged, parseDebugConnection, "",
			"Has every line about a client's connections logged, whatever error_log's level."),
	}
}

// use is accepted without effect, for the methods that there are on this system.
func use() conf.Directive {
	d := conf.Call("use", conf.Events, conf.Args1, func(s *conf.Setting) error {
		switch s.Arg(0) {
		case "epoll", "poll", "select":
			return nil
		}
		return fmt.Errorf(`invalid event type "%s"`, s.Arg(0))
	}, "Accepted without effect.")
	d.Why = "epoll is used through the Go runtime"
	return d
}

func (c *Main) openEvents(*conf.Setting) error {
	if c.hasEvents {
		return conf.ErrDuplicate
	}
	c.hasEvents = true
	return nil
}

func prefixed(s *conf.Setting) (string, error) { return s.Loader.PrefixPath(s.Arg(0)), nil }

// parseUser reads user NAME [GROUP]; the group is named as the user when it isn't given.
func parseUser(s *conf.Setting) (User, error) {
	u := User{Name: s.Arg(0)}
	if s.IsDefault || s.Loader.Offline {
		return u, nil
	}
	if os.Geteuid() != 0 {
		s.Warn(`the "user" directive makes sense only if the master process runs with super-user privileges, ignored`)
		return u, nil
	}
	return LookupUser(u.Name, s.Arg(len(s.Args)-1))
}

// LookupUser finds a user and a group in the system's files. Errors are in nginx's words.
func LookupUser(name, group string) (User, error) {
	su, err := user.Lookup(name)
	if err != nil {
		return User{}, fmt.Errorf(`getpwnam("%s") failed`, name)
	}
	sg, err := user.LookupGroup(group)
	if err != nil {
		return User{}, fmt.Errorf(`getgrnam("%s") failed`, group)
	}
	u := User{Name: name}
	u.UID, _ = strconv.Atoi(su.Uid)
	u.GID, _ = strconv.Atoi(sg.Gid)
	u.Groups = []int{u.GID}
	ids, _ := su.GroupIds()
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil && n != u.GID {
			u.Groups = append(u.Groups, n)
		}
	}
	return u, nil
}

// parseWorkers reads worker_processes; nginx takes 0, and then serves nobody.
func parseWorkers(s *conf.Setting) (int, error) {
	if s.Arg(0) == "auto" {
		return runtime.NumCPU(), nil
	}
	n, ok := conf.ParseNum(s.Arg(0))
	if !ok {
		return 0, conf.Brief("invalid value")
	}
	return max(n, 1), nil
}

// eventsOf returns what stands in events.
func eventsOf(config *conf.Config) *Main {
	for _, lv := range config.Root.Inner {
		if lv.Context == conf.Events {
			return conf.Of[*Main](lv)
		}
	}
	return MainOf(config)
}

// connectionsOf returns worker_connections.
func connectionsOf(config *conf.Config) int { return eventsOf(config).Connections.V }

func mainModule() ngx.Module {
	return ngx.Module{Name: "main", Conf: func() conf.Settings { return new(Main) }}
}
