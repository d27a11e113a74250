package process

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"limpet/internal/errlog"
	"limpet/internal/server"
)

// rights are what the process keeps of root's when `user` made it somebody else.
// nginx keeps a master process that is root: it reads keys, opens logs, writes the
// pid file and binds, and its workers can't. Here the process is one. Its threads
// serve requests without any right of root's, as nginx's workers do; the thread of
// the main loop, and only it, can take up the few that reloading needs, and does so for
// as long as it lasts. (Capabilities belong to threads; user and groups are the user's
// in all of them. The runtime makes no thread out of one that a goroutine is bound to.)
type rights struct {
	dropped bool
	keep    uint32 // of kept, what the process had
	uid     int    // the user's
}

// kept are the capabilities that reloading needs: to bind ports below 1024, to read
// keys and write logs and the pid file in folders of root, to give a log to the user.
const kept = 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_CHOWN | 1<<unix.CAP_FOWNER

// dropRights makes the process the configured user when it is root. The caller's
// goroutine is bound to its thread.
func dropRights(u server.User, s *server.Server) (*rights, error) {
	if os.Geteuid() != 0 {
		return &rights{}, nil
	}
	if u.UID == 0 && u.Groups == nil {
		found, err := defaultUser(u.Name)
		if err != nil {
			return nil, err
		}
		u = found
	}
	if u.UID == 0 {
		return &rights{}, nil // user root: nothing to drop
	}
	r := &rights{dropped: true, keep: permitted() & kept, uid: u.UID}
	if err := r.give(s); err != nil {
		return nil, err
	}
	// Of this thread; the others lose all rights.
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("prctl(PR_SET_KEEPCAPS, 1) failed %s", errlog.Errno(err))
	}
	if err := syscall.Setgroups(u.Groups); err != nil {
		return nil, fmt.Errorf("initgroups(%s, %d) failed %s", u.Name, u.GID, errlog.Errno(err))
	}
	if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil {
		return nil, fmt.Errorf("setgid(%d) failed %s", u.GID, errlog.Errno(err))
	}
	if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
		return nil, fmt.Errorf("setuid(%d) failed %s", u.UID, errlog.Errno(err))
	}
	r.set(0)
	// Changing the user has made /proc/self root's and crashes without a core; as nginx's workers, undo that.
	unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	return r, nil
}

// permitted returns the capabilities that the process may have in force; a container's root may lack some.
func permitted() uint32 {
	hdr := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(hdr, &data[0]) != nil {
		return 0
	}
	return data[0].Permitted
}

// give gives the user the logs, so that they can be reopened, and the folders for
// temporary files, which it makes as nginx does.
func (r *rights) give(s *server.Server) error {
	if !r.dropped {
		return nil
	}
	for _, dir := range s.Build().TempDirs() {
		if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
			return fmt.Errorf(`mkdir() "%s" failed %s`, dir, errlog.Errno(err))
		}
		if err := r.chown(dir); err != nil {
			return err
		}
	}
	for _, name := range s.LogFiles() {
		if fi, err := os.Lstat(name); err != nil || !fi.Mode().IsRegular() {
			continue // /dev/stdout and the like
		}
		if err := r.chown(name); err != nil {
			return err
		}
	}
	return nil
}

func (r *rights) chown(name string) error {
	if err := os.Chown(name, r.uid, -1); err != nil {
		return fmt.Errorf(`chown("%s", %d) failed %s`, name, r.uid, errlog.Errno(err))
	}
	return nil
}

// defaultUser finds the user where the file names none: nobody, with the group that nginx was built for.
func defaultUser(name string) (server.User, error) {
	u, err := server.LookupUser(name, "nobody")
	if err != nil {
		return server.LookupUser(name, "nogroup")
	}
	return u, nil
}

// with runs f with the kept rights. The goroutine is bound to its thread, and what
// f starts runs in others, without them.
func (r *rights) with(f func()) {
	if !r.dropped {
		f()
		return
	}
	r.set(r.keep)
	defer r.set(0)
	f()
}

// set sets what is in force of the thread's rights; all that is kept can be taken up.
func (r *rights) set(inForce uint32) {
	hdr := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: inForce, Permitted: r.keep}}
	if err := unix.Capset(hdr, &data[0]); err != nil {
		panic("BUG: capset of what is permitted: " + err.Error())
	}
}
