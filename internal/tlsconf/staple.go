package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"limpet/internal/certs"
	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/ocsp"
	"limpet/internal/openssl"
	conf "limpet/nginxconf"
)

// staple sets up the OCSP responses that go with the certificates: that of a file, or fetched ones.
func (s *server) staple(b *ngx.Build, lv *conf.Level) error {
	switch {
	case !s.conf.Stapling.V:
		return nil
	case s.conf.StaplingFile.V != "":
		return s.stapleFile(b)
	}
	return s.fetchStaples(b, lv)
}

// stapleFile reads the OCSP response that goes with the certificates.
func (s *server) stapleFile(b *ngx.Build) error {
	name := s.conf.StaplingFile.V
	b.Watch(name)
	der, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf(`BIO_new_file("%s") failed (SSL: %s)`, name, openssl.FileError(name, "rb", err))
	}
	if why := notOCSP(der); why != "" {
		return fmt.Errorf(`d2i_OCSP_RESPONSE_bio("%s") failed (SSL: %s)`, name, why)
	}
	for i := range s.config.Certificates {
		s.config.Certificates[i].OCSPStaple = der
	}
	return nil
}

// notOCSP returns OpenSSL's words for bytes that aren't an OCSP response (RFC 6960 section 4.2.1), "" for one.
func notOCSP(der []byte) string {
	var response struct {
		Status asn1.Enumerated
		Bytes  asn1.RawValue `asn1:"optional,explicit,tag:0"`
	}
	_, err := asn1.Unmarshal(der, &response)
	var wrong asn1.StructuralError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &wrong):
		return "error:068000A8:asn1 encoding routines::wrong tag error:0688010A:asn1 encoding routines::nested asn1 error:Type=OCSP_RESPONSE"
	}
	return "error:0680008E:asn1 encoding routines::not enough data"
}

// staples are the fetched responses of a server. Each is fetched when a client asks for one, behind its handshake, and
// anew before it expires, at most once an hour.
type staples struct {
	core *ngx.Core // for the log
	list []*staple

	ctx  context.Context // ends with the configuration
	work sync.WaitGroup
}

// staple is the response for one certificate.
type staple struct {
	cert, issuer *x509.Certificate
	name         string // of the certificate's file
	client       ocsp.Client

	mu      sync.Mutex
	der     []byte
	valid   time.Time // zero: the responder doesn't tell
	refresh time.Time // when it is fetched again
	loading bool
}

// How often a response is fetched, as in nginx.
const (
	refreshEarly  = 5 * time.Minute // before it expires
	refreshOften  = time.Hour       // at most between two
	refreshSeldom = 5 * time.Minute // at least between two, and behind a failure
)

// fetchStaples sets up fetching for the certificates whose issuer and responder are known. The others are warned of.
func (s *server) fetchStaples(b *ngx.Build, lv *conf.Level) error {
	c := s.conf
	ctx, cancel := context.WithCancel(context.Background())
	all := &staples{core: conf.Of[*ngx.Core](lv), ctx: ctx}
	for i := range c.Certificates.V {
		if s.dynamic {
			break // as in nginx: what isn't known yet has no response
		}
		name, _ := c.Certificates.V[i].Static()
		key, _ := c.Keys.V[i].Static()
		pair, err := certs.Of(b).Pair(name, key, c.PasswordFile.V)
		if err != nil {
			cancel()
			return err
		}
		st := &staple{cert: pair.Leaf, name: name, client: ocsp.Client{Unsigned: !c.StaplingVerify.V, Resolve: resolve(all.core)}}
		if st.issuer = s.issuerOf(pair); st.issuer == nil {
			b.Notice("warn", `"ssl_stapling" ignored, issuer certificate not found for certificate "%s"`, name)
			continue
		}
		if err := st.responder(c.StaplingURL.V); err != nil {
			b.Notice("warn", `"ssl_stapling" ignored, %s "%s"`, err, name)
			continue
		}
		all.list = append(all.list, st)
	}
	if len(all.list) == 0 {
		cancel()
		return nil
	}
	s.staples = all
	b.OnUndo(cancel)
	b.OnRetire(func() {
		cancel()
		all.work.Wait()
	})
	return nil
}

// issuerOf finds a certificate's issuer in its file, else among the trusted ones.
func (s *server) issuerOf(pair *tls.Certificate) *x509.Certificate {
	for _, der := range pair.Certificate[1:] {
		if ca, err := x509.ParseCertificate(der); err == nil && pair.Leaf.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	for _, ca := range s.store.Trusted {
		if bytes.Equal(ca.RawSubject, pair.Leaf.RawIssuer) && pair.Leaf.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	return nil
}

// responder finds who is asked: url, else the certificate's own. The error ends so that the certificate's name goes behind it.
func (st *staple) responder(url string) (err error) {
	if url == "" {
		if _, err = ocsp.Of(st.cert); err != nil && len(st.cert.OCSPServer) > 0 {
			err = fmt.Errorf("%w in the certificate", err)
		} else if err != nil {
			err = fmt.Errorf("no OCSP responder URL in the certificate")
		}
		return err
	}
	if st.client.Responder, err = ocsp.Parse(url, net.LookupHost); err != nil {
		return fmt.Errorf("%w in the certificate", err)
	}
	return nil
}

// statusRequest is the extension by which a client asks for a response, RFC 6066 section 8.
const statusRequest = 5

// attach puts what responses there are into the configuration of a session whose client asks for one, and has the others fetched.
func (all *staples) attach(cfg *tls.Config, hello *tls.ClientHelloInfo) {
	if !slices.Contains(hello.Extensions, statusRequest) {
		return
	}
	cfg.Certificates = slices.Clone(cfg.Certificates)
	for _, st := range all.list {
		der := all.get(st, time.Now())
		for i := range cfg.Certificates {
			if c := &cfg.Certificates[i]; bytes.Equal(c.Certificate[0], st.cert.Raw) {
				c.OCSPStaple = der
			}
		}
	}
}

// get returns a response that is still valid, nil when there is none, and begins to fetch one that is due.
func (all *staples) get(st *staple, now time.Time) []byte {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.loading && !now.Before(st.refresh) && all.ctx.Err() == nil {
		st.loading = true
		all.work.Add(1)
		go all.fetch(st)
	}
	if !st.valid.IsZero() && now.After(st.valid) {
		return nil
	}
	return st.der
}

// fetch asks the responder.
func (all *staples) fetch(st *staple) {
	defer all.work.Done()
	a, err := st.client.Ask(all.ctx, st.cert, st.issuer)
	if err == nil && !a.Good {
		err = fmt.Errorf(`certificate status "%s" in the OCSP response while requesting certificate status`, a.Status())
	}
	if err != nil && all.ctx.Err() == nil {
		all.core.ErrorLog.Printf(errlog.Error, 0, `%s, certificate: "%s"`, err, st.name)
	}
	now := time.Now()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.loading, st.refresh = false, now.Add(refreshSeldom)
	if err != nil {
		return
	}
	st.der, st.valid, st.refresh = a.DER, a.Until, now.Add(refreshOften)
	if early := a.Until.Add(-refreshEarly); !a.Until.IsZero() && early.Before(st.refresh) {
		st.refresh = early
	}
	if soon := now.Add(refreshSeldom); st.refresh.Before(soon) {
		st.refresh = soon
	}
}
