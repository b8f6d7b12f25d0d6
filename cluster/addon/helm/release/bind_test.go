package release

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
)

func TestBoundRequestsEndWithTheirContext(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 3)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
		}
		arrived <- struct{}{}
		<-release
	}))
	defer server.Close()
	defer close(release)
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	client, err := rest.HTTPClientFor(bind(ctx, &rest.Config{Host: server.URL}))
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
		if err != nil {
			t.Error(err)
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return err
	}
	results := make(chan error, 2)
	go func() { results <- get("/header") }()
	go func() { results <- get("/body") }()
	<-arrived
	<-arrived
	cancel(stopped)
	for range 2 {
		if err := <-results; err == nil {
			t.Error("a request that was under way did not end with the context")
		}
	}
	if err := get("/later"); !errors.Is(err, stopped) {
		t.Errorf("a later request = %v, want %v", err, stopped)
	}
}

func TestOnlyUnknownKindsAreForgiven(t *testing.T) {
	gone := &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "example.org", Kind: "Thing"}}
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"one", gone, true},
		{"several", utilerrors.NewAggregate([]error{gone, gone}), true},
		{"another error", errors.New("refused"), false},
		{"mixed", utilerrors.NewAggregate([]error{gone, errors.New("refused")}), false},
	} {
		if got := unknownKinds(tt.err); got != tt.want {
			t.Errorf("%s: unknownKinds(%v) = %v, want %v", tt.name, tt.err, got, tt.want)
		}
	}
}
