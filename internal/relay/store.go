package relay

import (
	"os"
	"time"

	"limpet/internal/cache"
	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

// storeTo is what _store says; the zero value is off.
type storeTo struct {
	on    bool
	named bool
	text  ngx.Text // the file's name; by root or alias unless named
}

// storer saves the answers of a place.
type storer struct {
	to     storeTo
	access os.FileMode
}

// storer returns what saves the answers of a place, nil where nothing does.
func (c *Conf) storer() *storer {
	if !c.Cached.Store.V.on {
		return nil
	}
	return &storer{c.Cached.Store.V, c.Cached.StoreAccess.V}
}

// saving is a file being saved.
type saving struct {
	f    *os.File
	name string
	at   *storer
	time time.Time // of the answer's last change
}

// begin begins to save the answer at hand; nil where it isn't to be.
func (s *storer) begin(x *Exchange) keeper {
	r := x.R
	if x.Status != 200 || x.NoBody || !x.buffering {
		return nil
	}
	f, err := x.H.temp.Create(r)
	if err != nil {
		r.Critf("%s", err)
		return nil
	}
	v := &saving{f: f, at: s}
	if s.to.named {
		v.name = string(s.to.text.Bytes(r))
	} else {
		v.name = string(r.MapPath(r.Path))
	}
	v.time, _ = ngx.ParseTime(r.UpHead.Get(ngx.HeaderLastModified))
	return v
}

// Write implements keeper.
func (v *saving) Write(p []byte) error {
	if _, err := v.f.Write(p); err != nil {
		return &saveError{"write", v.f.Name(), err}
	}
	return nil
}

// Commit implements keeper: the file gets its rights, its time and its name.
func (v *saving) Commit() error {
	temp := v.f.Name()
	err := v.f.Chmod(v.at.access)
	if e := v.f.Close(); err == nil {
		err = e
	}
	if err == nil && !v.time.IsZero() {
		err = os.Chtimes(temp, v.time, v.time)
	}
	if err != nil {
		os.Remove(temp)
		return &saveError{"close", temp, err}
	}
	return cache.Rename(temp, v.name, v.at.access, v.at.access|v.at.access&0o444>>2)
}

// Abort implements keeper.
func (v *saving) Abort() {
	v.f.Close()
	os.Remove(v.f.Name())
}

// saveError is an error of a system call on a file being saved.
type saveError struct {
	call, name string
	err        error
}

func (e *saveError) Error() string {
	return e.call + `() "` + e.name + `" failed ` + errlog.Errno(e.err)
}
