// Package headersmore sets and takes away fields of answers and of requests, those included that the server has a
// hand in: Server, Content-Type, Host and their kin.
//
// It stands for OpenResty's headers-more module.
// https://github.com/openresty/headers-more-nginx-module
//
// The fields that say how the connection is used (Connection, Keep-Alive, Transfer-Encoding) are the wire's: of them
// only `Connection: close` has an effect, others are told of at -t. Content-Length of an answer stands where the
// server writes it, not among the others. The module's words for wrong options are an [emerg] here, an [error] there.
// Fields set in a subrequest aren't seen by the request that made it.
package headersmore

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// Module returns the module.
func Module() ngx.Module {
	return ngx.Module{
		Name: "headers_more",
		Conf: func() nginxconf.Settings { return new(Conf) },
		Scope: func(_ *ngx.Build, s *ngx.Scope) error {
			c := nginxconf.Of[*Conf](s.Level)
			s.Add(ngx.RewriteTail, inStep(c.In.V))
			s.Add(ngx.HeaderFilter, outStep(c.Out.V))
			return nil
		},
	}
}

// outStep changes the header of answers; nil where there are no rules.
func outStep(rules []rule) ngx.Step {
	if len(rules) == 0 {
		return nil
	}
	return func(r *ngx.Request) ngx.Outcome {
		for i := range rules {
			if ru := &rules[i]; ru.isFor(&r.Out) {
				for j := range ru.fields {
					if out := ru.fields[j].set(r, ru.add); out != ngx.Next {
						return out
					}
				}
			}
		}
		return ngx.Next
	}
}

// isFor reports whether the rule is for an answer. As in the module types are compared byte by byte, parameters aside.
func (ru *rule) isFor(o *ngx.Response) bool {
	if len(ru.statuses) > 0 && !slices.Contains(ru.statuses, o.Status) {
		return false
	}
	if len(ru.types) == 0 {
		return true
	}
	name, _, _ := bytes.Cut(o.ContentType, []byte(";"))
	return has(ru.types, name)
}

func has(types []string, name []byte) bool {
	for _, t := range types {
		if t == string(name) {
			return true
		}
	}
	return false
}

// set sets a field of the answer, those that have a place of their own in it there.
func (f *field) set(r *ngx.Request, add bool) ngx.Outcome {
	value := f.value.Bytes(r)
	o := &r.Out
	if f.prefix {
		put(&o.Header, f, value)
		return ngx.Next
	}
	switch f.id {
	case ngx.HeaderContentType:
		o.ContentType, o.Charset = nil, nil
		if len(value) > 0 {
			o.ContentType = value
		}
		return ngx.Next
	case ngx.HeaderContentLength:
		return setLength(r, value)
	case ngx.HeaderLocation:
		o.Header.Hide(f.id)
		o.Location = nil
		if len(value) > 0 {
			o.Location = value
		}
		return ngx.Next
	case ngx.HeaderConnection:
		o.Close = o.Close || ngx.EqualFold(value, "close")
		return ngx.Next
	case ngx.HeaderServer:
		o.Server = []byte{}
	case ngx.HeaderDate:
		o.Date = []byte{}
	case ngx.HeaderLastModified:
		o.LastModified = time.Time{}
		if t, err := time.Parse(ngx.TimeFormat, string(value)); err == nil {
			o.LastModified = t
		}
	case ngx.HeaderAcceptRanges:
		o.AcceptRanges = o.AcceptRanges && len(value) > 0 && string(value) != "none"
	}
	if add && !isBuiltin(f.id) && len(value) > 0 {
		o.Header.Fields = append(o.Header.Fields, ngx.Field{Name: f.name, Value: value, ID: f.id})
		return ngx.Next
	}
	put(&o.Header, f, value)
	return ngx.Next
}

// isBuiltin reports the fields that -a doesn't double.
func isBuiltin(id ngx.HeaderID) bool {
	switch id {
	case ngx.HeaderServer, ngx.HeaderDate, ngx.HeaderContentEncoding, ngx.HeaderRefresh, ngx.HeaderLastModified, ngx.HeaderContentRange,
		ngx.HeaderAcceptRanges, ngx.HeaderWWWAuthenticate, ngx.HeaderExpires, ngx.HeaderETag, ngx.HeaderCacheControl:
		return true
	}
	return false
}

// setLength sets the length that the answer's head tells; without one the body goes out in chunks.
func setLength(r *ngx.Request, value []byte) ngx.Outcome {
	r.Out.Length = -1
	if len(value) == 0 {
		return ngx.Next
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 0 {
		r.Errorf(`invalid Content-Length "%s" for an answer`, value)
		return ngx.Close
	}
	r.Out.Length = n
	return ngx.Next
}

// put gives the first field that is meant the value, or adds one, and hides the others; all of them where the value is empty.
func put(h *ngx.Header, f *field, value []byte) {
	at := -1
	for i := range h.Fields {
		have := &h.Fields[i]
		if have.Hidden || !f.means(have) {
			continue
		}
		have.Hidden = true
		if at < 0 {
			at = i
		}
	}
	switch {
	case len(value) == 0:
	case at >= 0:
		h.Fields[at].Value, h.Fields[at].Hidden = value, false
	default:
		h.Fields = append(h.Fields, ngx.Field{Name: f.name, Value: value, ID: f.id})
	}
}

// means reports whether a field is one of those that f names.
func (f *field) means(have *ngx.Field) bool {
	switch {
	case f.prefix:
		n := len(f.name) - 1
		return len(have.Name) >= n && ngx.EqualFold(have.Name[:n], string(f.name[:n]))
	case f.id != ngx.HeaderOther:
		return have.ID == f.id
	}
	return ngx.EqualFold(have.Name, f.text)
}
