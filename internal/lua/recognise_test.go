package lua

import (
	"os"
	"strings"
	"testing"
)

func seed(t testing.TB) string {
	b, err := os.ReadFile("testdata/balancer.lua")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSeedIsRecognised(t *testing.T) {
	f := recognise(seed(t), "backend")
	if f == nil {
		t.Fatalf("not recognised; its normal form:\n%s", strings.Join(normal(seed(t), "backend"), " "))
	}
	want := found{cookie: "route", tail: "; path=/;", dict: "cache", key: "req_index", upstream: "backend", read: "cookie_route"}
	if *f != want {
		t.Errorf("got %+v, want %+v", *f, want)
	}
	if recognise(seed(t), "other") != nil {
		t.Error("recognised for an upstream that isn't the script's")
	}
}
