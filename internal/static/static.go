package static

import (
	"io"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

func addStatic(b *ngx.Build, s *ngx.Scope) error {
	c := confOf(s)
	s.Add(ngx.Content, c.serve)
	if c.Symlinks.V.mode != linksFollow {
		s.Stat = c.statFor
	}
	return nil
}

// statFor implements ngx.Scope's Stat.
func (c *Conf) statFor(r *ngx.Request, name []byte, st *syscall.Stat_t) (string, error) {
	f, err := open(r, &c.Symlinks.V, name)
	if err != nil {
		return err.call, err.err
	}
	defer f.close()
	return "fstat()", syscall.Fstat(f.fd, st)
}

// serve answers with the file under the request's path.
func (c *Conf) serve(r *ngx.Request) ngx.Outcome {
	method := string(r.Method)
	if method != "GET" && method != "HEAD" && method != "POST" {
		return ngx.Status(405)
	}
	if isFolder(r.Path) {
		return ngx.Next
	}
	name, ok := locate(r)
	if !ok {
		return ngx.Status(403)
	}
	if r.Debugging() {
		r.Debugf(`http filename: "%s"`, name)
	}
	f, err := open(r, &c.Symlinks.V, name)
	if err != nil {
		return failed(r, name, err)
	}
	defer f.close()
	if r.Debugging() {
		r.Debugf("http static fd: %d", f.fd)
	}
	switch {
	case f.dir:
		return toFolder(r)
	case !f.plain:
		r.Critf(`"%s" is not a regular file`, name)
		return ngx.Status(404)
	case method == "POST":
		return ngx.Status(405)
	}
	r.SetType()
	return send(r, &f, name, "")
}

// failed turns an error of opening a file into a status and logs it.
func failed(r *ngx.Request, name []byte, err *openError) ngx.Outcome {
	level, status := errlog.Crit, 500
	switch {
	case err.missing():
		level, status = errlog.Error, 404
	case err.forbidden():
		level, status = errlog.Error, 403
	}
	if status != 404 || r.Scope.Core.LogNotFound.V {
		r.Logf(level, `%s "%s" failed %s`, err.call, name, errlog.Errno(err.err))
	}
	return ngx.Status(status)
}

// toFolder redirects a folder's name to the name with a slash.
func toFolder(r *ngx.Request) ngx.Outcome {
	if r.Debugging() {
		r.Debugf("http dir")
	}
	loc := r.Alloc(3*len(r.Path) + 2 + len(r.Args))[:0]
	loc = append(ngx.AppendEscaped(loc, r.Path, ngx.EscapeURI), '/')
	if len(r.Args) > 0 {
		loc = append(append(loc, '?'), r.Args...)
	}
	r.Out.Location = loc
	return ngx.Status(301)
}

// send answers 200 with the file; its type is set. encoding is its Content-Encoding, "" for none.
func send(r *ngx.Request, f *file, name []byte, encoding string) ngx.Outcome {
	o := &r.Out
	o.Status = 200
	o.Length = f.size
	o.LastModified = f.mtime
	setETag(r, f)
	if encoding != "" {
		o.Header.AddID(ngx.HeaderContentEncoding, []byte(encoding))
	}
	o.AcceptRanges = encoding == "" // nginx answers no ranges of compressed files
	if r.SendHead() != nil {
		return ngx.Close
	}
	if f.size > 0 && !r.HeaderOnly && f.body(r, name) != nil {
		return ngx.Close
	}
	if r.Finish() != nil {
		return ngx.Close
	}
	return ngx.OK
}

// smallFile is up to what size a file is read by one call: to make an os.File of it costs two more.
const smallFile = 4 << 10

// body sends the file and closes it.
func (f *file) body(r *ngx.Request, name []byte) error {
	if !f.plain || f.size > smallFile {
		file := f.osFile(name)
		defer file.Close()
		return r.SendFile(file, 0, f.size)
	}
	defer f.close()
	buf := r.Alloc(int(f.size))
	for n := 0; n < len(buf); {
		m, err := unix.Pread(f.fd, buf[n:], int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			r.Critf(`pread() "%s" failed %s`, name, errlog.Errno(err))
			return err
		case m == 0:
			r.Critf(`file "%s" was truncated while it was sent`, name)
			return io.ErrUnexpectedEOF
		}
		n += max(m, 0)
	}
	return r.Write(buf)
}

// setETag adds the ETag field: time of the last change and size, in hexadecimal.
func setETag(r *ngx.Request, f *file) {
	if !r.Scope.Core.ETag.V {
		return
	}
	var buf [40]byte
	b := append(buf[:0], '"')
	b = strconv.AppendInt(b, f.mtime.Unix(), 16)
	b = append(b, '-')
	b = strconv.AppendInt(b, f.size, 16)
	b = append(b, '"')
	r.Out.Header.AddID(ngx.HeaderETag, r.Copy(b))
}

// isFolder reports whether a path ends in a slash.
func isFolder(path []byte) bool { return len(path) > 0 && path[len(path)-1] == '/' }
