package hostile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// least is the share of rows that must agree with nginx in all that is compared.
const least = 0.97

// shards is how many servers rows are played against at a time; most of a row's time is waiting.
const shards = 12

// world is one server with its backends.
type world struct {
	cmd           *exec.Cmd
	dir           string
	ports         map[string]string
	first, backup *backend
	unmask        *strings.Replacer
	stderr        bytes.Buffer
}

// TestRequests replays the hostile clients.
func TestRequests(t *testing.T) { replay(t, "requests.jsonl", (*world).request) }

// TestResponses replays the misbehaving backends.
func TestResponses(t *testing.T) { replay(t, "responses.jsonl", (*world).response) }

// verdict is what came of a row: differences, and whether they are safe.
type verdict struct {
	row  *record
	diff []string
	// refused says that the difference is a refusal: 4xx or 5xx, closed, nothing passed on.
	refused bool
}

func replay(t *testing.T, file string, play func(w *world, r *record) verdict) {
	rows, err := read("../../testdata/hostile/" + file)
	if err != nil {
		t.Fatal(err)
	}
	bin := build(t)
	todo := make(chan *record)
	results := make(chan verdict)
	var wg sync.WaitGroup
	for range shards {
		w := start(t, bin)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for r := range todo {
				v := play(w, r)
				if len(v.diff) > 0 { // once more: a busy machine is no difference
					v = play(w, r)
				}
				results <- v
			}
		}()
	}
	go func() {
		for _, r := range rows {
			todo <- r
		}
		close(todo)
		wg.Wait()
		close(results)
	}()
	judge(t, len(rows), results)
}

// judge fails for rows of security that differ unsafely, for valid messages that
// are refused, and when too many others differ.
func judge(t *testing.T, total int, results <-chan verdict) {
	var differ []verdict
	for v := range results {
		if len(v.diff) > 0 && !(v.row.Security && v.refused) {
			differ = append(differ, v)
		}
	}
	sort.Slice(differ, func(i, j int) bool { return differ[i].row.ID < differ[j].row.ID })
	for _, v := range differ {
		text := fmt.Sprintf("%s: %s", v.row.ID, strings.Join(v.diff, "; "))
		switch {
		case v.row.MustAccept:
			t.Errorf("valid, yet %s", text)
		case v.row.Security && !v.refused:
			t.Errorf("security: %s", text)
		default:
			t.Log(text)
		}
	}
	share := 1 - float64(len(differ))/float64(total)
	t.Logf("%d of %d rows agree in everything (%.1f %%)", total-len(differ), total, 100*share)
	if share < least {
		t.Errorf("%.1f %% agree, want %.0f %%", 100*share, 100*least)
	}
}

func build(t *testing.T) string {
	bin := filepath.Join(t.TempDir(), "limpet")
	cmd := exec.Command("go", "build", "-o", bin, "limpet/cmd/limpet")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// start starts a server with the recordings' configuration on ports of its own.
func start(t *testing.T, bin string) *world {
	w := &world{dir: t.TempDir() + "/", ports: make(map[string]string)}
	var err error
	if w.first, err = newBackend(); err != nil {
		t.Fatal(err)
	}
	if w.backup, err = newBackend(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../testdata/hostile/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	w.ports["backend"], w.ports["backend2"] = w.first.port(), w.backup.port()
	var taken []net.Listener // until all ports are chosen, so that each is another
	conf := regexp.MustCompile(`\{(\w+)\}`).ReplaceAllFunc(text, func(m []byte) []byte {
		name := string(m[1 : len(m)-1])
		if w.ports[name] == "" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			w.ports[name] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
			taken = append(taken, l)
		}
		return []byte(w.ports[name])
	})
	for _, l := range taken {
		l.Close()
	}
	var pairs []string
	for name, port := range w.ports {
		pairs = append(pairs, "{"+name+"}", port)
	}
	w.unmask = strings.NewReplacer(append(pairs, "{prefix}/", w.dir)...)
	files := map[string]string{"html/index.html": "index\n", "html/page.html": "0123456789abcdefghij\n", "html/private/s.txt": "SECRET\n",
		"html/dir/index.html": "dir\n", "html/a b.txt": "space\n", "html/x.php": "SECRET\n", "html/caf\u00e9.txt": "accent\n",
		"files/f.txt": "file\n", "outside.txt": "SECRET\n", "nginx.conf": "user root;\n" + string(conf)}
	if os.Geteuid() != 0 {
		files["nginx.conf"] = string(conf)
	}
	os.Mkdir(w.dir+"tmp", 0o755)
	for name, body := range files {
		os.MkdirAll(filepath.Dir(w.dir+name), 0o755)
		if err := os.WriteFile(w.dir+name, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.cmd = exec.Command(bin, "-p", w.dir, "-c", "nginx.conf", "-e", "error.log", "--watch=false")
	w.cmd.Stderr = &w.stderr
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.cmd.Process.Signal(syscall.SIGTERM)
		w.cmd.Wait()
		w.first.ln.Close()
		w.backup.ln.Close()
		if log, _ := os.ReadFile(w.dir + "error.log"); bytes.Contains(log, []byte("[alert]")) {
			t.Errorf("the log has an alert: %s", log[bytes.Index(log, []byte("[alert]")):])
		}
	})
	for range 200 {
		if _, err := os.Stat(w.dir + "server.pid"); err == nil {
			return w
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("limpet doesn't start: %s", w.stderr.String())
	return nil
}

func (w *world) begin(r *record) {
	w.first.begin(r.Reply)
	w.backup.begin(nil)
}

func (w *world) end() {
	w.first.end()
	w.backup.end()
}

func (w *world) play(r *record) (*seen, error) {
	settle := 300 * time.Millisecond
	if r.Settle > 0 {
		settle = time.Duration(r.Settle * float64(time.Second))
	}
	steps := slices.Clone(r.Send)
	for i := range steps {
		if len(steps[i].bytes) > 0 {
			steps[i].bytes = octets(w.unmask.Replace(string(steps[i].bytes)))
		}
	}
	return exchange("127.0.0.1:"+w.ports[r.Location], steps, settle, r.Head)
}

// request plays a row of a client and compares the answers and what the backend got.
func (w *world) request(r *record) verdict {
	w.begin(r)
	s, err := w.play(r)
	if err != nil {
		return verdict{row: r, diff: []string{err.Error()}}
	}
	if r.Late > 0 {
		time.Sleep(time.Duration(r.Late * float64(time.Second)))
	}
	w.first.mu.Lock()
	got := append([][]byte(nil), w.first.complete...)
	w.first.mu.Unlock()
	w.end()
	v := verdict{row: r, diff: w.compare(r, s)}
	var want []octets
	if string(r.Expect.Backend) != `"varies"` {
		if err := json.Unmarshal(r.Expect.Backend, &want); err != nil {
			return verdict{row: r, diff: []string{err.Error()}}
		}
		v.diff = append(v.diff, w.compareBackend(r, got, want)...)
	}
	v.refused = refusal(s) && len(got) <= len(want)
	return v
}

// refusal reports an answer that is as safe as any: the last status is an error
// and the connection is closed.
func refusal(s *seen) bool {
	if s.closed == nil || !*s.closed {
		return false
	}
	if len(s.statuses) == 0 {
		return true
	}
	last := s.statuses[len(s.statuses)-1]
	return last >= "400" && last < "600"
}

// compareBackend compares requests passed on: the first line and the body as they
// are, the fields without regard to case and order.
func (w *world) compareBackend(r *record, got [][]byte, want []octets) (diff []string) {
	if len(got) != len(want) {
		return []string{fmt.Sprintf("the backend got %d requests %q, want %d", len(got), got, len(want))}
	}
	for i := range got {
		a, b := canonical(got[i], r.Location == "stream"), canonical([]byte(w.unmask.Replace(string(want[i]))), r.Location == "stream")
		if a != b {
			diff = append(diff, fmt.Sprintf("the backend got %.300q, want %.300q", got[i], want[i]))
		}
	}
	return diff
}

// canonical is a request with its fields sorted; a streamed body without its framing.
func canonical(req []byte, stream bool) string {
	head, body, ok := bytes.Cut(req, []byte("\r\n\r\n"))
	if !ok {
		return string(req)
	}
	lines := strings.Split(string(head), "\r\n")
	fields := lines[1:]
	kept := fields[:0]
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		name = strings.ToLower(name)
		if stream && (name == "content-length" || name == "transfer-encoding") {
			if name == "transfer-encoding" {
				body, _, _ = unchunk(body)
			}
			continue
		}
		kept = append(kept, name+":"+value)
	}
	sort.SliceStable(kept, func(i, j int) bool {
		a, _, _ := strings.Cut(kept[i], ":")
		b, _, _ := strings.Cut(kept[j], ":")
		return a < b
	})
	return lines[0] + "\n" + strings.Join(kept, "\n") + "\n\n" + string(body)
}

// compare compares statuses, whether the connection was closed, and the answers.
func (w *world) compare(r *record, s *seen) (diff []string) {
	if got, want := strings.Join(s.statuses, " "), r.statuses(); got != want {
		if r.OrFinal == 0 || got != strconv.Itoa(r.OrFinal) {
			return []string{fmt.Sprintf("status %q, want %q", got, want)}
		}
		return nil
	}
	if c := r.Expect.Closed; c != nil && s.closed != nil && *c != *s.closed {
		diff = append(diff, fmt.Sprintf("closed %v, want %v", *s.closed, *c))
	}
	for i := range min(len(s.answers), len(r.Expect.Answers)) {
		diff = append(diff, w.compareAnswer(r, &s.answers[i], &r.Expect.Answers[i])...)
	}
	return diff
}

func (w *world) compareAnswer(r *record, got, want *answer) (diff []string) {
	if g, x := string(got.Line), string(want.Line); g != x {
		diff = append(diff, fmt.Sprintf("line %q, want %q", g, x))
	}
	if got.Complete != want.Complete {
		diff = append(diff, fmt.Sprintf("complete %v, want %v", got.Complete, want.Complete))
	}
	if !got.Complete && !want.Complete {
		return diff // how much of a broken answer came is a matter of time
	}
	if b := boundary(got.Headers); b != "" {
		got.Body = bytes.ReplaceAll(got.Body, []byte(b), []byte("{n}"))
		for i := range got.Headers {
			got.Headers[i] = bytes.ReplaceAll(got.Headers[i], []byte(b), []byte("{n}"))
		}
	}
	if string(want.Body) != "{page}" && w.unmask.Replace(string(want.Body)) != string(got.Body) {
		diff = append(diff, fmt.Sprintf("body %.100q, want %.100q", got.Body, want.Body))
	}
	if g, x := w.fields(got.Headers), w.fields(want.Headers); g != x {
		if !(r.UnsafeInNginx && len(got.Headers) < len(want.Headers)) {
			diff = append(diff, fmt.Sprintf("fields %.300q, want %.300q", g, x))
		}
	}
	return diff
}

// boundary is the random part of a multipart answer.
func boundary(fields []octets) string {
	for _, f := range fields {
		if _, b, ok := strings.Cut(string(f), "boundary="); ok {
			return b
		}
	}
	return ""
}

// fields makes header fields comparable: names in lower case, in a fixed order, what varies masked.
func (w *world) fields(list []octets) string {
	var out []string
	for _, f := range list {
		name, value, _ := strings.Cut(w.unmask.Replace(string(f)), ": ")
		name = strings.ToLower(name)
		switch name {
		case "server", "date", "last-modified", "etag", "content-length":
			value = "*"
		}
		out = append(out, name+": "+value)
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, _, _ := strings.Cut(out[i], ":")
		b, _, _ := strings.Cut(out[j], ":")
		return a < b
	})
	return strings.Join(out, "\n")
}

// response plays a row of a backend, then a second client's request.
func (w *world) response(r *record) verdict {
	w.begin(r)
	s, err := w.play(r)
	if err != nil {
		return verdict{row: r, diff: []string{err.Error()}}
	}
	second, err := exchange("127.0.0.1:"+w.ports[r.Location], []step{{bytes: []byte("GET /second HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n\r\n")}}, 2*time.Second, nil)
	w.first.mu.Lock()
	requests, reused := w.first.requests, w.first.reused
	w.first.mu.Unlock()
	w.end()
	v := verdict{row: r, diff: w.compare(r, s)}
	if err != nil {
		v.diff = append(v.diff, "second: "+err.Error())
		return v
	}
	clean := len(second.statuses) == 1 && second.statuses[0] == "200" && string(second.answers[0].Body) == "second\n"
	if want := r.Expect.Second; !clean && fmt.Sprint(want...) == fmt.Sprint(200.0, "second\n") {
		v.diff = append(v.diff, fmt.Sprintf("the second request got %v", second.statuses))
		return v
	}
	if requests != r.Expect.Requests {
		v.diff = append(v.diff, fmt.Sprintf("%d requests to the backend, want %d", requests, r.Expect.Requests))
	}
	if reused && !r.Expect.Reused && r.Security || !reused && r.Expect.Reused && r.MustAccept {
		v.diff = append(v.diff, fmt.Sprintf("reused %v, want %v", reused, r.Expect.Reused))
	}
	v.refused = len(s.statuses) == 0 || s.statuses[len(s.statuses)-1] == "502" || s.statuses[len(s.statuses)-1] == "504"
	v.refused = v.refused && !reused
	if r.Location == "retry" && strings.Join(s.statuses, " ") == "200" && s.answers[0].Complete {
		v.refused = true // the second backend answered
	}
	return v
}
