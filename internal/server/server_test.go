package server

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

func TestServesWithoutLocations(t *testing.T) {
	dir := t.TempDir() + "/"
	if err := os.Mkdir(dir+"html", 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "nginx.conf")
	text := "events { }\nhttp { access_log off; server { listen unix:" + dir + "s; listen 127.0.0.1:18123; } }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, err := New(Options{ConfFile: file, Prefix: dir, ErrorLog: "stderr"})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	resp, err := http.Get("http://127.0.0.1:18123/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 403 || len(body) != 153 {
		t.Errorf("got %d with %d bytes, want nginx's 403 page", resp.StatusCode, len(body))
	}
}
