package healthcheck

import (
	"encoding/json"
	"fmt"
	"strings"

	"limpet/internal/ngx"
	"limpet/nginxconf"
)

// format is a format of check_status.
type format uint8

const (
	formatHTML format = iota
	formatCSV
	formatJSON
	formatPrometheus
)

// formats returns the words of check_status and of its argument format.
func formats() []string { return []string{"html", "csv", "json", "prometheus"} }

// contentType returns the type of a page.
func (f format) contentType() string {
	return [...]string{"text/html", "text/plain", "application/json", "text/plain"}[f]
}

func parseStatus(s *nginxconf.Setting) (format, error) {
	if len(s.Args) == 0 {
		return formatHTML, nil
	}
	f, ok := formatOf(s.Arg(0))
	if !ok {
		return 0, fmt.Errorf(`invalid check format "%s"`, s.Arg(0))
	}
	return f, nil
}

func formatOf(word string) (format, bool) {
	for i, w := range formats() {
		if strings.EqualFold(w, word) {
			return format(i), true
		}
	}
	return 0, false
}

// row is a peer as the pages show it.
type row struct {
	Index    int
	Upstream string
	Name     string
	Status   string
	Rise     int64
	Fall     int64
	Type     string
	Port     int
}

// rows returns the peers of all checks with the state that is wanted: up, down or "" for all.
// The index is that among all.
func (s *Checks) rows(want string) []row {
	var rows []row
	i := 0
	s.Each(func(r Report) {
		state := "up"
		if r.Down {
			state = "down"
		}
		if want == "" || want == state {
			rows = append(rows, row{i, r.Group.Name, string(r.Peer.Name), state, r.Passed, r.Failed, r.Check.Type, r.Check.Port})
		}
		i++
	})
	return rows
}

// statusHandler answers in a location with check_status.
func (s *Checks) statusHandler(f format) ngx.Step {
	return func(r *ngx.Request) ngx.Outcome {
		if m := string(r.Method); m != "GET" && m != "HEAD" {
			return ngx.Status(405)
		}
		if len(s.list) == 0 {
			r.Errorf("http upstream check module can not find any check server, make sure you've added the check servers")
			return ngx.Status(500)
		}
		page, f := s.page(r, f)
		r.Out.Status, r.Out.ContentType, r.Out.Length = 200, []byte(f.contentType()), int64(len(page))
		if r.SendHead() != nil {
			return ngx.Close
		}
		if !r.HeaderOnly && r.Write([]byte(page)) != nil || r.Finish() != nil {
			return ngx.Close
		}
		return ngx.OK
	}
}

// page makes the page that the request's arguments ask for.
func (s *Checks) page(r *ngx.Request, f format) (string, format) {
	if v, ok := arg(string(r.Args), "format"); ok {
		if asked, ok := formatOf(v); ok {
			f = asked
		} else {
			r.Errorf(`http upstream check, bad argument: "%s"`, v)
		}
	}
	want := ""
	if v, ok := arg(string(r.Args), "status"); ok {
		if want = strings.ToLower(v); want != "up" && want != "down" {
			r.Errorf(`http upstream check, bad argument: "%s"`, v)
			want = ""
		}
	}
	rows := s.rows(want)
	switch f {
	case formatCSV:
		return csvPage(rows), f
	case formatJSON:
		return jsonPage(rows, s.Generation()), f
	case formatPrometheus:
		return prometheusPage(rows, s.Generation()), f
	}
	return htmlPage(rows, s.Generation()), f
}

// arg returns an argument of a query.
func arg(args, name string) (string, bool) {
	for a := range strings.SplitSeq(args, "&") {
		if k, v, ok := strings.Cut(a, "="); ok && strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}

func csvPage(rows []row) string {
	var w strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&w, "%d,%s,%s,%s,%d,%d,%s,%d\n", r.Index, r.Upstream, r.Name, r.Status, r.Rise, r.Fall, r.Type, r.Port)
	}
	return w.String()
}

// counts returns how many rows are up and down.
func counts(rows []row) (up, down int) {
	for _, r := range rows {
		if r.Status == "up" {
			up++
		} else {
			down++
		}
	}
	return up, down
}

// jsonPage is Tengine's; the comma is never one too many, and strings are JSON's.
func jsonPage(rows []row, generation int64) string {
	var w strings.Builder
	up, down := counts(rows)
	fmt.Fprintf(&w, "{\"servers\": {\n  \"total\": %d,\n  \"up\": %d,\n  \"down\": %d,\n  \"generation\": %d,\n  \"server\": [\n", len(rows), up, down, generation)
	for i, r := range rows {
		comma := ","
		if i == len(rows)-1 {
			comma = ""
		}
		fmt.Fprintf(&w, "    {\"index\": %d, \"upstream\": %s, \"name\": %s, \"status\": \"%s\", \"rise\": %d, \"fall\": %d, \"type\": \"%s\", \"port\": %d}%s\n",
			r.Index, quoted(r.Upstream), quoted(r.Name), r.Status, r.Rise, r.Fall, r.Type, r.Port, comma)
	}
	w.WriteString("  ]\n}}\n")
	return w.String()
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string is never an error
	return string(b)
}

const htmlHead = `<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN
"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
  <title>Nginx http upstream check status</title>
</head>
<body>
<h1>Nginx http upstream check status</h1>
<h2>Check upstream server number: %d, generation: %d</h2>
<table style="background-color:white" cellspacing="0"        cellpadding="3" border="1">
  <tr bgcolor="#C0C0C0">
    <th>Index</th>
    <th>Upstream</th>
    <th>Name</th>
    <th>Status</th>
    <th>Rise counts</th>
    <th>Fall counts</th>
    <th>Check type</th>
    <th>Check port</th>
  </tr>
`

// htmlPage is the page that both modules show.
func htmlPage(rows []row, generation int64) string {
	var w strings.Builder
	fmt.Fprintf(&w, htmlHead, len(rows), generation)
	for _, r := range rows {
		colour := ""
		if r.Status == "down" {
			colour = ` bgcolor="#FF0000"`
		}
		fmt.Fprintf(&w, "  <tr%s>\n", colour)
		for _, cell := range []any{r.Index, htmlText(r.Upstream), htmlText(r.Name), r.Status, r.Rise, r.Fall, r.Type, r.Port} {
			fmt.Fprintf(&w, "    <td>%v</td>\n", cell)
		}
		w.WriteString("  </tr>\n")
	}
	w.WriteString("</table>\n</body>\n</html>\n")
	return w.String()
}

func htmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

func active(r row) int64 {
	if r.Status == "up" {
		return 1
	}
	return 0
}

// prometheusPage is Tengine's.
func prometheusPage(rows []row, generation int64) string {
	var w strings.Builder
	up, down := counts(rows)
	for _, g := range []struct {
		name, help string
		value      int64
	}{
		{"total", "Nginx total number of servers", int64(len(rows))},
		{"up", "Nginx total number of servers that are UP", int64(up)},
		{"down", "Nginx total number of servers that are DOWN", int64(down)},
		{"generation", "Nginx generation", generation},
	} {
		fmt.Fprintf(&w, "# HELP nginx_upstream_count_%s %s\n# TYPE nginx_upstream_count_%s gauge\nnginx_upstream_count_%s %d\n", g.name, g.help, g.name, g.name, g.value)
	}
	for _, m := range []struct {
		name, help, kind string
		value            func(r row) int64
	}{
		{"rise", "Nginx rise counter", "counter", func(r row) int64 { return r.Rise }},
		{"fall", "Nginx fall counter", "counter", func(r row) int64 { return r.Fall }},
		{"active", "Nginx active 1 for UP / 0 for DOWN", "gauge", active},
	} {
		fmt.Fprintf(&w, "# HELP nginx_upstream_server_%s %s\n# TYPE nginx_upstream_server_%s %s\n", m.name, m.help, m.name, m.kind)
		for _, r := range rows {
			status := fmt.Sprintf(`status="%s",`, r.Status)
			if m.name == "active" {
				status = ""
			}
			fmt.Fprintf(&w, "nginx_upstream_server_%s{index=\"%d\",upstream=\"%s\",name=\"%s\",%stype=\"%s\",port=\"%d\"} %d\n",
				m.name, r.Index, promLabel(r.Upstream), promLabel(r.Name), status, r.Type, r.Port, m.value(r))
		}
	}
	return w.String()
}
