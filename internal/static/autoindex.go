package static

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// Words of autoindex_format.
const (
	formatHTML = iota
	formatJSON
	formatJSONP
	formatXML
)

// entry is a name in a folder.
type entry struct {
	name  string
	dir   bool
	file  bool
	size  int64
	mtime time.Time
}

func addAutoindex(b *ngx.Build, s *ngx.Scope) error {
	if c := confOf(s); c.Autoindex.V {
		s.Add(ngx.Content, c.autoindex)
	}
	return nil
}

// autoindex answers a request for a folder with its listing.
func (c *Conf) autoindex(r *ngx.Request) ngx.Outcome {
	if !isFolder(r.Path) || string(r.Method) != "GET" && string(r.Method) != "HEAD" {
		return ngx.Next
	}
	format, callback := c.AutoindexFormat.V, []byte(nil)
	if format == formatJSONP {
		var ok bool
		if callback, ok = callbackOf(r); !ok {
			return ngx.Status(400)
		}
		if len(callback) == 0 {
			format = formatJSON
		}
	}
	dir, ok := locate(r)
	if !ok {
		return ngx.Status(403)
	}
	o := &r.Out
	o.Status = 200
	switch format {
	case formatJSON:
		o.ContentType = []byte("application/json")
	case formatJSONP:
		o.ContentType = []byte("application/javascript")
	case formatXML:
		o.ContentType, o.Charset = []byte("text/xml"), []byte("utf-8")
	default:
		o.ContentType = []byte("text/html")
	}
	entries, err := readFolder(r, c, dir)
	if err != nil {
		o.ContentType, o.Charset = nil, nil
		return folderError(r, dir, err)
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.dir != b.dir {
			if a.dir {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.name, b.name)
	})
	if r.SendHead() != nil {
		return ngx.Close
	}
	if r.HeaderOnly {
		return finish(r)
	}
	var page []byte
	switch format {
	case formatJSON, formatJSONP:
		page = appendJSON(nil, entries, callback)
	case formatXML:
		page = appendXML(nil, entries)
	default:
		page = c.appendHTML(nil, r, entries)
	}
	if r.Write(page) != nil {
		return ngx.Close
	}
	return finish(r)
}

// finish ends a complete answer.
func finish(r *ngx.Request) ngx.Outcome {
	if r.Finish() != nil {
		return ngx.Close
	}
	return ngx.OK
}

// callbackOf returns the argument callback; false when it is no name.
func callbackOf(r *ngx.Request) ([]byte, bool) {
	name := argument(r.Args, "callback")
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.':
		default:
			r.Infof(`client sent invalid callback name: "%s"`, name)
			return nil, false
		}
	}
	return name, true
}

// argument returns the value of an argument of a query as it came.
func argument(args []byte, name string) []byte {
	for len(args) > 0 {
		var arg []byte
		arg, args = cutByte(args, '&')
		if key, value := cutByte(arg, '='); ngx.EqualFold(key, name) && len(key) < len(arg) {
			return value
		}
	}
	return nil
}

func cutByte(b []byte, sep byte) (before, after []byte) {
	for i, c := range b {
		if c == sep {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

// readFolder reads the names of a folder that don't begin with a dot, and what is behind them.
func readFolder(r *ngx.Request, c *Conf, dir []byte) ([]entry, error) {
	f, openErr := open(r, &c.Symlinks.V, dir)
	if openErr != nil {
		return nil, openErr.err
	}
	if !f.dir {
		f.close()
		return nil, unix.ENOTDIR
	}
	d := f.osFile(dir)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(names))
	for _, name := range names {
		if strings.HasPrefix(name, ".") {
			continue
		}
		e, ok := readEntry(r, string(dir)+name)
		if ok {
			e.name = name
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// readEntry looks at a name: at the link itself when it leads nowhere. False means that the name is left out.
func readEntry(r *ngx.Request, name string) (entry, bool) {
	st, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) {
		st, err = os.Lstat(name)
	}
	if err != nil {
		r.Critf(`stat() "%s" failed %s`, name, errlog.Errno(err))
		return entry{}, false
	}
	return entry{dir: st.IsDir(), file: st.Mode().IsRegular(), size: st.Size(), mtime: st.ModTime()}, true
}

// folderError turns an error of reading a folder into a status and logs it.
func folderError(r *ngx.Request, dir []byte, err error) ngx.Outcome {
	level, status := errlog.Crit, 500
	var errno unix.Errno
	if errors.As(err, &errno) {
		switch e := (&openError{err: errno}); {
		case e.missing():
			level, status = errlog.Error, 404
		case e.forbidden():
			level, status = errlog.Error, 403
		}
	}
	if status != 404 || r.Scope.Core.LogNotFound.V {
		r.Logf(level, `opendir() "%s" failed %s`, dir[:max(len(dir)-1, 1)], errlog.Errno(err))
	}
	return ngx.Status(status)
}
