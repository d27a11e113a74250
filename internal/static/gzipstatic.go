package static

import (
	"limpet/internal/errlog"
	"limpet/internal/ngx"
)

func addGzipStatic(b *ngx.Build, s *ngx.Scope) error {
	if c := confOf(s); c.GzipStatic.V != gzipStaticOff {
		s.Add(ngx.Content, c.gzipStatic)
	}
	return nil
}

// gzipStatic answers with the compressed neighbour of the file asked for, when
// there is one and the client takes it.
func (c *Conf) gzipStatic(r *ngx.Request) ngx.Outcome {
	if string(r.Method) != "GET" && string(r.Method) != "HEAD" || isFolder(r.Path) {
		return ngx.Next
	}
	takes := c.GzipStatic.V == gzipStaticAlways || ngx.GzipOK(r)
	if !takes && !ngx.GzipVary(r) {
		return ngx.Next
	}
	plain, ok := locate(r)
	if !ok {
		return ngx.Status(403)
	}
	name := concat(r, plain, []byte(".gz"))
	f, err := open(r, &c.Symlinks.V, name)
	if err != nil {
		if !err.missing() && !err.forbidden() {
			r.Critf(`%s "%s" failed %s`, err.call, name, errlog.Errno(err.err))
		}
		return ngx.Next
	}
	defer f.close()
	if c.GzipStatic.V == gzipStaticOn {
		ngx.AddVary(r)
		if !takes {
			return ngx.Next
		}
	}
	if !f.plain {
		if !f.dir {
			r.Critf(`"%s" is not a regular file`, name)
			return ngx.Status(404)
		}
		return ngx.Next
	}
	r.SetType()
	return send(r, &f, name, "gzip")
}
