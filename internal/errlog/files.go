package errlog

import (
	"fmt"
	"os"
	"sync"
	"syscall"
)

// Files owns the open log files. Logs that name the same path share one file, which stays open as long as one of them
// has it, so that a reload doesn't reopen what it keeps. The zero Files is ready, and safe for concurrent use.
type Files struct {
	mu    sync.Mutex
	files map[string]*File
}

// File is one open log file.
type File struct {
	owner *Files
	path  string
	users int // guarded by owner.mu

	mu sync.RWMutex // held while fd is written to, so that it isn't replaced under a write
	fd int          // -1: closed
}

// Open returns the file of that path, opened for appending and made where it is missing. Each Open wants its Close.
// The error is in nginx's words.
func (fs *Files) Open(path string) (*File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.files[path]; f != nil {
		f.users++
		return f, nil
	}
	fd, err := openAppend(path)
	if err != nil {
		return nil, err
	}
	if fs.files == nil {
		fs.files = map[string]*File{}
	}
	f := &File{owner: fs, path: path, users: 1, fd: fd}
	fs.files[path] = f
	return f, nil
}

// Reopen opens every file anew, after someone has moved the old ones away. A file that can't be opened goes on under
// its old name, and report gets nginx's words for it.
func (fs *Files) Reopen(report func(error)) {
	for _, f := range fs.all() {
		fd, err := openAppend(f.path)
		if err != nil {
			report(err)
			continue
		}
		f.mu.Lock()
		old := f.fd
		if old >= 0 {
			f.fd = fd
		} else {
			old = fd
		}
		f.mu.Unlock()
		syscall.Close(old)
	}
}

// Paths returns the paths of the open files.
func (fs *Files) Paths() []string {
	var paths []string
	for _, f := range fs.all() {
		paths = append(paths, f.path)
	}
	return paths
}

// all returns the open files, so that a report can be logged without the lock.
func (fs *Files) all() []*File {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	list := make([]*File, 0, len(fs.files))
	for _, f := range fs.files {
		list = append(list, f)
	}
	return list
}

// Path returns the path the file was opened by.
func (f *File) Path() string { return f.path }

// Write writes p with one system call, so that lines of several writers don't mix. A closed file drops it.
func (f *File) Write(p []byte) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.fd < 0 {
		return 0, os.ErrClosed
	}
	for {
		n, err := syscall.Write(f.fd, p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// Close gives the file back; the last user's Close closes it.
func (f *File) Close() error {
	f.owner.mu.Lock()
	defer f.owner.mu.Unlock()
	if f.users--; f.users > 0 {
		return nil
	}
	if f.owner.files[f.path] == f {
		delete(f.owner.files, f.path)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fd := f.fd
	f.fd = -1
	if fd < 0 {
		return os.ErrClosed
	}
	return syscall.Close(fd)
}

// openAppend opens path as nginx opens its logs.
func openAppend(path string) (int, error) {
	for {
		fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CREAT|syscall.O_CLOEXEC, 0o644)
		switch err {
		case nil:
			return fd, nil
		case syscall.EINTR:
		default:
			return -1, &OpenError{path, err}
		}
	}
}

// OpenError is a failed open() of a log in nginx's words.
type OpenError struct {
	path string
	err  error
}

func (e *OpenError) Error() string {
	return fmt.Sprintf(`open() "%s" failed %s`, e.path, Errno(e.err))
}

func (e *OpenError) Unwrap() error { return e.err }
