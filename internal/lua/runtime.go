// Package lua is the OpenResty API on gopher-lua: the *_by_lua directives, and
// the modules that scripts around a load balancer use.
//
// It stands for lua-nginx-module, lua-upstream-nginx-module, lua-resty-core,
// lua-resty-upstream-healthcheck, lua-resty-lrucache and lua-cjson.
// https://github.com/openresty/lua-nginx-module
//
// The route-cookie balancer is recognised on the syntax tree and done natively
// by package sticky; any other balancer script runs here, once a try.
// init_worker_by_lua runs when the configuration is built, so that -t sees what it
// would do; timers that it sets wait until the configuration is in force.
//
// Scripts run in states of a pool, each of which is what a worker process is in
// OpenResty: modules' state is a state's own, ngx.shared is everybody's. A script
// has a state for itself while it runs, waits included.
//
// There is no ngx.socket, no ffi, no os and io but for the time, no
// ssl_*_by_lua; uses of sockets and ffi that can be seen are refused when the
// configuration is read. A script is stopped after a number of instructions or
// seconds, or when the process's memory has grown too much while it ran.
package lua

import (
	"crypto/x509"
	"sync"
	"sync/atomic"

	lua "github.com/yuin/gopher-lua"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Options say how Lua is dealt with.
type Options struct {
	// Recognise does the route-cookie balancer natively; false runs it as any other script.
	Recognise bool
}

// Stats count runs of scripts, for metrics.
type Stats struct {
	Runs, Errors, Stopped atomic.Int64
}

// StatsOf returns the counters, which live on over reloads.
func StatsOf(b *ngx.Build) *Stats {
	return ngx.Keep(b, "lua stats", func() *Stats { return new(Stats) })
}

// Module returns the Lua module.
func Module(opt Options) ngx.Module {
	return ngx.Module{
		Name:   "lua",
		Conf:   func() nginxconf.Settings { return &Conf{recognise: opt.Recognise} },
		Config: start,
		Scope:  addSteps,
	}
}

// runtime is what the scripts of one configuration share.
type runtime struct {
	build      *ngx.Build
	log        *errlog.Log
	prefix     string
	path       []string // templates of lua_package_path
	init       *script
	initWorker *script
	exitWorker *script
	workers    int
	maxPending int
	maxRunning int
	trusted    *x509.CertPool // lua_ssl_trusted_certificate of http
	dicts      map[string]*dict
	stats      *Stats
	files      fileCache
	confs      map[*ngx.Scope]*scopeConf
	slot       ngx.Slot[*requestState]

	mu      sync.Mutex
	idle    []*machine // guarded by mu
	nextID  int        // guarded by mu
	pending int        // timers that wait, guarded by mu
	running int        // timers that run, guarded by mu

	begun   chan struct{} // closed when the configuration is in force
	done    chan struct{} // closed when it retires
	work    sync.WaitGroup
	serial  *atomic.Uint64
	testing bool
}

// shared is how the parts of the package find the runtime of a build.
type shared struct{ rt *runtime }

// runtimeOf returns the configuration's runtime, made at its first use.
func runtimeOf(b *ngx.Build) *runtime {
	sh := ngx.Shared[shared](b)
	if sh.rt == nil {
		sh.rt = &runtime{
			build: b, begun: make(chan struct{}), done: make(chan struct{}), testing: b.Test, log: b.Log,
			slot: ngx.NewSlot[*requestState](b), stats: StatsOf(b), dicts: make(map[string]*dict), workers: 1,
			maxPending: 1024, maxRunning: 256,
			serial: ngx.Keep(b, "lua serial", func() *atomic.Uint64 { return new(atomic.Uint64) }),
		}
	}
	return sh.rt
}

// start makes the shared dictionaries, runs init_by_lua and init_worker_by_lua.
func start(b *ngx.Build) error {
	rt := runtimeOf(b)
	rt.prefix = b.Config.Root.Loader().Prefix
	var c *Conf
	for _, lv := range b.Config.Root.Inner {
		if lv.Context == nginxconf.HTTP {
			c = nginxconf.Of[*Conf](lv)
		}
	}
	if c == nil {
		return nil
	}
	for _, d := range c.Dicts.V {
		rt.dicts[d.name] = keepDict(b, d)
	}
	rt.path = packagePath(c.PackagePath.V, rt.prefix)
	rt.init, rt.initWorker, rt.exitWorker = c.Init.V, c.InitWorker.V, c.ExitWorker.V
	rt.maxPending, rt.maxRunning, rt.trusted = c.MaxPending.V, c.MaxRunning.V, c.Trusted.V
	rt.watchModules(nginxconf.Of[*Conf](b.Config.Root).codes)
	b.OnStart(func() { close(rt.begun) })
	b.OnUndo(rt.stop)
	b.OnRetire(rt.retire)
	if rt.init == nil && rt.initWorker == nil {
		return nil
	}
	m, err := rt.worker()
	if err != nil {
		return nginxconf.Errorf("", 0, "%s", err)
	}
	rt.release(m)
	return nil
}

// worker makes a state as a worker process gets it, with init_worker_by_lua run.
func (rt *runtime) worker() (*machine, error) {
	rt.mu.Lock()
	id := rt.nextID
	rt.nextID++
	rt.mu.Unlock()
	m, err := rt.newMachine(id)
	if err != nil {
		return nil, err
	}
	defer m.guardGlobals()
	if rt.initWorker == nil {
		return m, nil
	}
	what := &call{phase: phaseInitWorker, conn: rt.serial.Add(1)}
	if err := m.runCode(rt.initWorker.code, what); err != nil && !m.muted {
		rt.logLine(errlog.Error, 0, "init_worker_by_lua error: "+err.Error())
	}
	m.muted = false
	return m, nil
}

// stop ends the timers and waits for those that run.
func (rt *runtime) stop() {
	close(rt.done)
	rt.work.Wait()
}

// retire runs exit_worker_by_lua, then stops.
func (rt *runtime) retire() {
	if rt.exitWorker != nil {
		if m, err := rt.acquire(); err == nil {
			if err := m.runCode(rt.exitWorker.code, &call{phase: phaseExitWorker, conn: rt.serial.Add(1)}); err != nil {
				rt.logLine(errlog.Error, 0, "exit_worker_by_lua error: "+err.Error())
			}
			rt.release(m)
		}
	}
	rt.stop()
}

// logLine writes a line that belongs to no request; with -t it becomes a notice of the test where it matters.
func (rt *runtime) logLine(level errlog.Level, conn uint64, msg string) {
	if !rt.testing {
		rt.log.Write(level, conn, msg)
		return
	}
	if level <= errlog.Warn {
		rt.build.Notice("warn", "%s", msg)
	}
}

// maxIdle bounds the number of states that wait for work.
const maxIdle = 64

// acquire returns a state for the caller alone.
func (rt *runtime) acquire() (*machine, error) {
	rt.mu.Lock()
	if n := len(rt.idle); n > 0 {
		m := rt.idle[n-1]
		rt.idle = rt.idle[:n-1]
		rt.mu.Unlock()
		return m, nil
	}
	rt.mu.Unlock()
	return rt.worker()
}

// release gives a state back, or to a timer of its own that waits for it.
func (rt *runtime) release(m *machine) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if len(m.waiters) > 0 {
		w := m.waiters[0]
		m.waiters = m.waiters[1:]
		close(w)
		return
	}
	if len(rt.idle) < maxIdle || m.timers > 0 {
		rt.idle = append(rt.idle, m)
		return
	}
	m.L.Close()
}

// take waits until a given state is the caller's, for its timers.
func (rt *runtime) take(m *machine) {
	rt.mu.Lock()
	for i, have := range rt.idle {
		if have == m {
			rt.idle = append(rt.idle[:i], rt.idle[i+1:]...)
			rt.mu.Unlock()
			return
		}
	}
	w := make(chan struct{})
	m.waiters = append(m.waiters, w)
	rt.mu.Unlock()
	<-w
}

// requestState is what Lua keeps with a request.
type requestState struct {
	ctx      *lua.LTable
	pinned   *machine // whose objects ctx holds; it isn't anybody else's until the request ends
	replaced bool     // header_filter_by_lua put an error in the answer's place
	buf      []byte   // output for an HTTP/1.0 client
	set      bool     // buf is in use
	eof      bool     // the answer is complete
}
