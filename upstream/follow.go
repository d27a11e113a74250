package upstream

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/resolver"
	"limpet/nginxconf"
)

const (
	// retryAtLeast bounds how often a name is asked for.
	retryAtLeast = time.Second
	// startWait is how long a start waits for names that were never resolved, so that
	// first requests don't find an empty group.
	startWait = time.Second
)

// goneBit is the bit of State.unhealthy of peers that aren't their group's any more.
const goneBit = 30

// follower resolves the names of the configuration in force again and again, and
// gives their groups the peers that are found. It lives as long as the process,
// so that a reload goes on with the addresses that are known.
type follower struct {
	mu    sync.Mutex
	known map[string][]resolver.Target // by name.key
	stop  context.CancelFunc           // ends what runs; nil: nothing does
	wait  *sync.WaitGroup              // for what runs
	names []*name                      // those that run, to tell configurations apart
}

func newFollower() *follower { return &follower{known: make(map[string][]resolver.Target)} }

// name is what some servers of a group are followed by.
type name struct {
	key           string
	host, service string
	group         *followed
	resolver      *resolver.Resolver
	timeout       time.Duration
	log           *errlog.Log
}

// followed is a group some of whose names are resolved at run time.
type followed struct {
	group   *Group
	servers []*serverSpec
	states  *Table[*State]

	mu    sync.Mutex // one change at a time; guards found
	found map[string][]resolver.Target
}

// plan is the names of a configuration.
type plan struct{ names []*name }

func keyOf(g *Group, sv *serverSpec) string { return g.Name + "\x00" + sv.service + "\x00" + sv.host }

// follow makes the names of a group be followed once the configuration is in force,
// and returns the peers that are known by then.
func (sp *spec) follow(b *ngx.Build) (*Peers, error) {
	core := nginxconf.Of[*ngx.Core](sp.level.Up(nginxconf.HTTP))
	own := sp.group.Conf
	res, timeout := own.Resolver.V, own.ResolverTimeout.V
	if res == nil {
		res = core.Resolver.V
	} else {
		res.SetLog(b.Log)
	}
	if !own.ResolverTimeout.Own {
		timeout = core.ResolverTimeout.V
	}
	switch {
	case !sp.zone:
		return nil, nginxconf.Errorf("", 0, `resolving names at run time requires upstream "%s" in %s:%d to be in shared memory`, sp.name, sp.at.File, sp.at.Line)
	case res == nil:
		return nil, nginxconf.Errorf(sp.at.File, sp.at.Line, `no resolver defined to resolve names at run time in upstream "%s"`, sp.name)
	}
	f := &followed{group: sp.group, servers: sp.servers, found: make(map[string][]resolver.Target)}
	f.states = ngx.Keep(b, "states "+sp.group.Name, func() *Table[*State] { return new(Table[*State]) })
	p, fl := ngx.Shared[plan](b), ngx.Keep(b, "names", newFollower)
	if p.names == nil {
		b.OnStart(func() { fl.install(p.names) })
		b.OnRetire(func() { fl.retire(p.names) })
	}
	for _, sv := range sp.servers {
		if !sv.resolve {
			continue
		}
		key := keyOf(sp.group, sv)
		if _, twice := f.found[key]; twice {
			continue
		}
		f.found[key] = fl.recall(key)
		p.names = append(p.names, &name{key, sv.host, sv.service, f, res, timeout, b.Log})
	}
	return f.peers(nil), nil
}

func (fl *follower) recall(key string) []resolver.Target {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.known[key]
}

func (fl *follower) remember(key string, found []resolver.Target) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.known[key] = found
}

// install follows the names of the configuration that comes into force in place of those before.
func (fl *follower) install(names []*name) {
	fl.mu.Lock()
	stop, wait := fl.stop, fl.wait
	fl.mu.Unlock()
	if stop != nil {
		stop()
		wait.Wait()
	}
	ctx, cancel := context.WithCancel(context.Background())
	running, first := new(sync.WaitGroup), new(sync.WaitGroup)
	fl.mu.Lock()
	fl.stop, fl.wait, fl.names = cancel, running, names
	known := make(map[string][]resolver.Target)
	for _, n := range names {
		if found, ok := fl.known[n.key]; ok {
			known[n.key] = found
		} else {
			first.Add(1)
		}
	}
	old := fl.known
	fl.known = known
	fl.mu.Unlock()
	for _, n := range names {
		ready := func() {}
		if _, ok := old[n.key]; !ok {
			ready = sync.OnceFunc(first.Done)
		}
		running.Go(func() {
			defer ready()
			n.run(ctx, fl, ready)
		})
	}
	done := make(chan struct{})
	go func() {
		first.Wait()
		close(done)
	}()
	resolver.WaitContext(ctx)(done, startWait)
}

// retire ends the following of a configuration's names, unless another one's are followed.
func (fl *follower) retire(names []*name) {
	fl.mu.Lock()
	if len(fl.names) == 0 || fl.names[0] != names[0] {
		fl.mu.Unlock()
		return
	}
	stop, wait := fl.stop, fl.wait
	fl.stop, fl.names = nil, nil
	fl.mu.Unlock()
	stop()
	wait.Wait()
}

// run resolves a name whenever what is known isn't valid any more. ready is called when it was tried once.
func (n *name) run(ctx context.Context, fl *follower, ready func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		found, valid, err := n.resolve(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := max(time.Until(valid), retryAtLeast)
		if err != nil {
			n.tell(err)
		}
		if err != nil && err != error(resolver.NotFound) {
			wait = max(n.timeout, retryAtLeast)
		} else {
			fl.remember(n.key, found)
			n.group.update(n.key, found)
		}
		ready()
		timer.Reset(wait)
	}
}

// resolve asks for the name's addresses, in an order of their own: answers come in any.
func (n *name) resolve(ctx context.Context) ([]resolver.Target, time.Time, error) {
	wait := resolver.WaitContext(ctx)
	if n.service != "" {
		found, valid, err := n.resolver.Service(n.service, n.host, n.timeout, wait)
		slices.SortFunc(found, func(a, b resolver.Target) int {
			return cmp.Or(a.Priority-b.Priority, strings.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr), a.Weight-b.Weight)
		})
		return found, valid, err
	}
	addrs, valid, err := n.resolver.Host(n.host, n.timeout, wait)
	slices.SortFunc(addrs, netip.Addr.Compare)
	var found []resolver.Target
	for _, a := range addrs {
		found = append(found, resolver.Target{Addr: netip.AddrPortFrom(a, 0)})
	}
	return found, valid, err
}

// tell logs why a name wasn't resolved.
func (n *name) tell(err error) {
	var sub *resolver.ServiceError
	switch {
	case errors.As(err, &sub):
		n.log.Printf(errlog.Error, 0, "%s could not be resolved (%s) while resolving service %s of %s", sub.Host, err, n.service, n.host)
	case n.service != "":
		n.log.Printf(errlog.Error, 0, "service %s of %s could not be resolved (%s)", n.service, n.host, err)
	default:
		n.log.Printf(errlog.Error, 0, "%s could not be resolved (%s)", n.host, err)
	}
}

// update takes over what a name resolves to.
func (f *followed) update(key string, found []resolver.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Equal(f.found[key], found) {
		return
	}
	f.found[key] = found
	before := f.group.Peers()
	ps := f.peers(before)
	for _, tell := range f.group.heard {
		tell(ps)
	}
	f.group.publish(ps)
	f.forget(before, ps)
}

// forget drops the states of peers that aren't there any more, and the
// connections to them. What an earlier configuration knew besides stays.
func (f *followed) forget(before, ps *Peers) {
	gone := make(map[string]*State)
	for _, p := range before.All {
		gone[p.key] = p.State
	}
	for _, p := range ps.All {
		delete(gone, p.key)
	}
	f.states.Retain(func(key string) bool { return gone[key] == nil })
	for _, s := range gone {
		s.SetDown(goneBit, true)
		f.group.Kept.drop(s)
	}
}

// peers makes the group's peers of what is found. Those that there were before
// keep their state, and their standing in round robin while their weight is the same.
func (f *followed) peers(before *Peers) *Peers {
	old := make(map[string]*Peer)
	if before != nil {
		for _, p := range before.All {
			old[p.key] = p
		}
	}
	var all []*Peer
	times := make(map[string]int)
	add := func(p *Peer) {
		p.key = nth(p.Addr, times)
		p.State = f.states.Get(p.key, func() *State { return new(State) })
		if o := old[p.key]; o != nil && o.weight == p.weight {
			p.turn = o.turn
		}
		all = append(all, p)
	}
	for _, sv := range f.servers {
		for _, a := range sv.addrs {
			add(sv.peer(a))
		}
		if sv.resolve {
			for _, p := range sv.resolved(f.found[keyOf(f.group, sv)]) {
				add(p)
			}
		}
	}
	return newPeers(all)
}

// resolved makes the peers of a line. Of a service's hosts those of the least
// priority are as the line says, the others are backup peers, or left out where the
// line itself is a backup one. The line's weight goes before a host's.
// https://nginx.org/en/docs/http/ngx_http_upstream_module.html#service
func (sv *serverSpec) resolved(found []resolver.Target) []*Peer {
	least := 1 << 16
	for i := range found {
		least = min(least, found[i].Priority)
	}
	var peers []*Peer
	for i := range found {
		t := &found[i]
		if sv.service == "" {
			peers = append(peers, sv.peer(netip.AddrPortFrom(t.Addr.Addr(), sv.port).String()))
			continue
		}
		if t.Priority != least && sv.backup {
			continue
		}
		p := sv.peer(t.Addr.String())
		p.Server, p.Backup = t.Name, sv.backup || t.Priority != least
		if p.weight == 1 {
			p.weight = max(t.Weight, 1)
			p.turn.effective = p.weight
		}
		peers = append(peers, p)
	}
	return peers
}
