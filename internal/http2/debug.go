package http2

import "limpet/internal/ngx"

// debugHeader tells of a request's header; the pseudo-header fields are in its line.
func debugHeader(r *ngx.Request) {
	r.DebugTarget()
	for i := range r.In.Fields {
		r.Debugf(`http2 header: "%s: %s"`, r.In.Fields[i].Name, r.In.Fields[i].Value)
	}
	r.Debugf("http2 header done")
}

// debugAnswer tells of the head of an answer.
func debugAnswer(r *ngx.Request, id uint32) {
	o := &r.Out
	r.Debugf(`http2 output header: ":status: %03d"`, o.Status)
	if o.ContentType != nil {
		r.Debugf(`http2 output header: "content-type: %s"`, o.ContentType)
	}
	if o.Length >= 0 {
		r.Debugf(`http2 output header: "content-length: %d"`, o.Length)
	}
	if o.Location != nil {
		r.Debugf(`http2 output header: "location: %s"`, o.Location)
	}
	for i := range o.Header.Fields {
		if f := &o.Header.Fields[i]; !f.Hidden {
			r.Debugf(`http2 output header: "%s: %s"`, f.Name, f.Value)
		}
	}
	r.Debugf("http2:%d create HEADERS frame", id)
}
