package tlsconf

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/ocsp"
	"limpet/internal/resolver"
	conf "limpet/nginxconf"
)

// ocspCheck is how clients' certificates are asked about.
// https://nginx.org/en/docs/http/ngx_http_ssl_module.html#ssl_ocsp
type ocspCheck struct {
	client ocsp.Client
	leaf   bool  // the client's own certificate alone
	cache  *zone // nil for none
}

// checkByOCSP sets ssl_ocsp up.
func (s *server) checkByOCSP(b *ngx.Build, lv *conf.Level) error {
	c := s.conf
	switch {
	case c.OCSP.V == ocspOff:
		return nil
	case c.Verify.V == verifyOptionalNoCA:
		return errors.New(`"ssl_ocsp" is incompatible with "ssl_verify_client optional_no_ca"`)
	}
	check := &ocspCheck{leaf: c.OCSP.V == ocspLeaf, client: ocsp.Client{Resolve: resolve(conf.Of[*ngx.Core](lv))}}
	if url := c.OCSPResponder.V; url != "" {
		to, err := ocsp.Parse(url, net.LookupHost)
		if err != nil {
			return fmt.Errorf(`%w in "ssl_ocsp_responder"`, err)
		}
		check.client.Responder = to
	}
	if cache := c.OCSPCache.V; cache.Zone != "" {
		check.cache = ngx.Keep(b, fmt.Sprintf("ssl ocsp cache %s:%d", cache.Zone, cache.Size), func() *zone { return newZone(int(cache.Size / 256)) })
	}
	if c.Verify.V != verifyOff {
		s.ocsp = check
	}
	return nil
}

// resolve returns what resolves the names of responders by the resolver of a place, nil where there is none.
func resolve(core *ngx.Core) ocsp.Resolve {
	r := core.Resolver.V
	if r == nil {
		return nil
	}
	return func(ctx context.Context, name string) ([]netip.Addr, error) {
		addrs, _, err := r.Host(name, core.ResolverTimeout.V, resolver.WaitContext(ctx))
		return addrs, err
	}
}

// The words for a certificate that OCSP refuses.
const (
	statusFailed  = "certificate status request failed"
	statusRevoked = "certificate revoked"
)

// askOCSP has the client's verified chain asked about, also when its session was resumed, and notes what is wrong. False
// means that the client has gone meanwhile.
func (s *session) askOCSP(log *errlog.Log) bool {
	if s.server == nil || s.server.ocsp == nil || s.result != 0 || len(s.chain) < 2 {
		return true
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var status string
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		status, err = s.server.ocsp.chain(ctx, s.chain)
	}()
	gone := s.client.Conn.Await(done, time.Duration(len(s.chain))*ocsp.Timeout) != nil
	cancel()
	<-done
	if err != nil && !gone {
		log.Printf(errlog.Error, s.client.ID, "%s", err)
	}
	s.status = status
	return !gone
}

// chain asks about a chain, the leaf first, up to the root, and returns what is wrong with it.
func (o *ocspCheck) chain(ctx context.Context, chain []*x509.Certificate) (status string, err error) {
	for i, cert := range chain[:len(chain)-1] {
		if i > 0 && o.leaf {
			break
		}
		if status, err = o.one(ctx, cert, chain[i+1]); status != "" {
			return status, err
		}
	}
	return "", nil
}

// one asks about a certificate. Answers that say for how long they are valid are kept.
func (o *ocspCheck) one(ctx context.Context, cert, issuer *x509.Certificate) (status string, err error) {
	key := ocsp.Key(cert, issuer)
	if o.cache != nil {
		if known := o.cache.get(key, time.Now()); known != nil {
			return string(known), nil
		}
	}
	a, err := o.client.Ask(ctx, cert, issuer)
	switch {
	case err != nil:
		return statusFailed, err
	case a.Revoked:
		status = statusRevoked
	case !a.Good:
		status = statusFailed
	}
	if o.cache != nil && !a.Until.IsZero() && (a.Good || a.Revoked) {
		o.cache.put(key, []byte(status), a.Until)
	}
	return status, nil
}
