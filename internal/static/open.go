package static

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"limpet/internal/ngx"
	conf "limpet/nginxconf"
)

// Words of disable_symlinks.
const (
	linksFollow = iota
	linksRefuse
	linksOfOwner // followed when link and target have one owner
)

// symlinks is what disable_symlinks says.
type symlinks struct {
	mode int
	from ngx.Text // a beginning of the name whose links are followed
}

func parseSymlinks(s *conf.Setting) (symlinks, error) {
	var l symlinks
	for i := range s.Args {
		v := s.Arg(i)
		switch {
		case v == "off":
			l.mode = linksFollow
		case v == "on":
			l.mode = linksRefuse
		case v == "if_not_owner":
			l.mode = linksOfOwner
		case strings.HasPrefix(v, "from="):
			from, err := ngx.ParseText(s, v[len("from="):])
			if err != nil {
				return l, err
			}
			l.from = from
		default:
			return l, fmt.Errorf(`invalid parameter "%s"`, v)
		}
	}
	if len(s.Args) == 2 && s.Arg(0) != "on" && s.Arg(0) != "if_not_owner" && s.Arg(1) != "on" && s.Arg(1) != "if_not_owner" {
		if l.mode == linksFollow && !l.from.IsEmpty() {
			return l, fmt.Errorf(`"from=" cannot be used with "off" parameter`)
		}
		return l, fmt.Errorf(`duplicate parameter "%s"`, s.Arg(1))
	}
	if len(s.Args) == 1 && strings.HasPrefix(s.Arg(0), "from=") {
		return l, fmt.Errorf(`"disable_symlinks" must have "off", "on" or "if_not_owner" parameter`)
	}
	return l, nil
}

// limit returns the mode for a name and the length of the name's beginning that isn't looked at.
func (l *symlinks) limit(r *ngx.Request, name []byte) (mode, from int) {
	if l.mode == linksFollow || l.from.IsEmpty() {
		return l.mode, 0
	}
	f := l.from.Bytes(r)
	n := len(f)
	switch {
	case n == 0 || n > len(name) || string(f) != string(name[:n]):
		return l.mode, 0
	case n == len(name):
		return linksFollow, 0
	case name[n] == '/':
		return l.mode, n
	case name[n-1] == '/':
		return l.mode, n - 1
	}
	return l.mode, 0
}

// file is what was found under a name.
type file struct {
	fd    int // -1 when it wasn't opened
	size  int64
	mtime time.Time
	uid   uint32
	dir   bool
	plain bool // a regular file
}

func (f *file) fill(st *unix.Stat_t) {
	f.size = st.Size
	f.mtime = time.Unix(st.Mtim.Unix())
	f.uid = st.Uid
	f.dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	f.plain = st.Mode&unix.S_IFMT == unix.S_IFREG
}

// close closes the descriptor of a file that isn't sent.
func (f *file) close() {
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
}

// openError is an error of the file system and the call that gave it, for the log.
type openError struct {
	call string
	err  error
}

// missing reports whether there is no such file.
func (e *openError) missing() bool {
	return e.err == unix.ENOENT || e.err == unix.ENOTDIR || e.err == unix.ENAMETOOLONG
}

// forbidden reports whether the file may not be read, by its mode or by disable_symlinks.
func (e *openError) forbidden() bool {
	return e.err == unix.EACCES || e.err == unix.EMLINK || e.err == unix.ELOOP
}

// open opens a name for reading. It waits for no writer of a FIFO.
func open(r *ngx.Request, l *symlinks, name []byte) (file, *openError) {
	f := file{fd: -1}
	mode, from := l.limit(r, name)
	var err error
	if mode == linksFollow {
		if f.fd, err = openat(unix.AT_FDCWD, string(name), unix.O_RDONLY); err != nil {
			return file{fd: -1}, &openError{"open()", err}
		}
	} else if f.fd, err = openChecked(string(name), from, mode == linksOfOwner); err != nil {
		return file{fd: -1}, &openError{"openat()", err}
	}
	var st unix.Stat_t
	if err := fstat(f.fd, &st); err != nil {
		f.close()
		return f, &openError{"fstat()", err}
	}
	f.fill(&st)
	return f, nil
}

// stat looks at a name without opening it.
func stat(r *ngx.Request, l *symlinks, name []byte) (file, *openError) {
	if mode, _ := l.limit(r, name); mode != linksFollow {
		f, err := open(r, l, name)
		f.close()
		return f, err
	}
	f := file{fd: -1}
	var st unix.Stat_t
	for {
		err := unix.Stat(string(name), &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return f, &openError{"stat()", err}
		}
		f.fill(&st)
		return f, nil
	}
}

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func fstat(fd int, st *unix.Stat_t) error {
	for {
		if err := unix.Fstat(fd, st); err != unix.EINTR {
			return err
		}
	}
}

// openChecked opens a name component by component behind its first from bytes and
// refuses symbolic links with ELOOP: all, or those whose target has another owner.
func openChecked(name string, from int, ofOwner bool) (int, error) {
	start := name[:from]
	if start == "" {
		start = "/"
	}
	dir, err := openat(unix.AT_FDCWD, start, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	rest := strings.TrimLeft(name[from:], "/")
	for {
		part, tail, more := strings.Cut(rest, "/")
		tail = strings.TrimLeft(tail, "/")
		flags := unix.O_RDONLY
		if tail != "" {
			flags = unix.O_PATH | unix.O_DIRECTORY
		} else if more {
			flags |= unix.O_DIRECTORY
		}
		if part == "" {
			part = "."
		}
		fd, err := openPart(dir, part, flags, ofOwner)
		unix.Close(dir)
		if err != nil || tail == "" {
			return fd, err
		}
		dir, rest = fd, tail
	}
}

// openPart opens one component of a name.
func openPart(dir int, part string, flags int, ofOwner bool) (int, error) {
	if !ofOwner {
		return openat(dir, part, flags|unix.O_NOFOLLOW)
	}
	var link unix.Stat_t
	if err := unix.Fstatat(dir, part, &link, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, err
	}
	if link.Mode&unix.S_IFMT != unix.S_IFLNK {
		return openat(dir, part, flags|unix.O_NOFOLLOW) // it may have become a link since
	}
	fd, err := openat(dir, part, flags)
	if err != nil {
		return fd, err
	}
	var target unix.Stat_t
	if err = fstat(fd, &target); err == nil && target.Uid != link.Uid {
		err = unix.ELOOP
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// climbs reports whether a path has a segment of two dots.
func climbs(path []byte) bool {
	for i := 0; i+1 < len(path); i++ {
		if path[i] == '.' && path[i+1] == '.' && (i == 0 || path[i-1] == '/') && (i+2 == len(path) || path[i+2] == '/') {
			return true
		}
	}
	return false
}

// locate maps the request's path to a file name. False means that the path leads out of root or alias; it was logged.
func locate(r *ngx.Request) ([]byte, bool) {
	root := &r.Scope.Core.Root.V
	path := r.Path
	if root.Alias && !root.Rx {
		path = path[min(len(path), root.Cut):]
	}
	name := r.MapPath(r.Path)
	if climbs(path) {
		r.Errorf(`"%s" leads out of "%s"`, name, root.Text.Bytes(r))
		return name, false
	}
	return name, true
}

// osFile makes the opened descriptor a file, which the caller closes.
func (f *file) osFile(name []byte) *os.File {
	fd := f.fd
	f.fd = -1
	return os.NewFile(uintptr(fd), string(name))
}
