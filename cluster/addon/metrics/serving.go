package metrics

import (
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/keelson-os/keelson/cluster/credentials"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	"k8s.io/apiserver/pkg/authorization/union"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/metrics-server/pkg/api"
	"sigs.k8s.io/metrics-server/pkg/api/generated/openapi"
)

const (
	// cacheTTL is how long an answer of the API server to "who is this" and "may they" counts.
	cacheTTL = 10 * time.Second
	// requestTimeout bounds a request, and so how long the end of the node waits for it. A
	// request waits for a scrape at most.
	requestTimeout = scrapeTimeout + 5*time.Second
)

// health is all that may be asked for without credentials.
var health = [...]string{"/healthz", "/livez", "/readyz"}

// apiServer is a generic API server with no API in it yet.
func (o Options) apiServer(l net.Listener, client kubernetes.Interface) (*genericapiserver.GenericAPIServer, error) {
	cfg := genericapiserver.NewConfig(api.Codecs)
	cfg.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	cfg.RequestTimeout = requestTimeout
	// The API server's own /metrics has the process's metrics.
	cfg.EnableMetrics = false
	cfg.EnableProfiling = false
	cfg.EnableIndex = false
	// It counts for metrics once a second.
	cfg.DisabledPostStartHooks.Insert("max-in-flight-filter")
	cfg.StorageObjectCountTracker = nil
	// For calls to itself, which it has no reason for; upstream insists on a value.
	cfg.LoopbackClientConfig = &rest.Config{}

	cfg.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, openapinamer.NewDefinitionNamer(api.Scheme))
	cfg.OpenAPIConfig.Info.Title = "Kubernetes metrics-server"
	cfg.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, openapinamer.NewDefinitionNamer(api.Scheme))
	cfg.OpenAPIV3Config.Info.Title = "Kubernetes metrics-server"

	serving := options.NewSecureServingOptions()
	serving.Listener = l
	serving.ServerCert.CertKey = options.CertKey{CertFile: o.file(credentials.ServingMetrics + ".crt"), KeyFile: o.file(credentials.ServingMetrics + ".key")}
	if err := serving.ApplyTo(&cfg.SecureServing); err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	if err := o.authentication(cfg, client); err != nil {
		return nil, fmt.Errorf("authentication: %w", err)
	}
	var err error
	if cfg.Authorization.Authorizer, err = authorization(client); err != nil {
		return nil, fmt.Errorf("authorization: %w", err)
	}
	return cfg.Complete(nil).New("metrics-server", genericapiserver.NewEmptyDelegate())
}

func (o Options) file(name string) string { return filepath.Join(o.TLS, name) }

// authentication lets in the API server, with the word of which user it asks for, and
// whoever has a token that the API server knows. Upstream's options for this would let in
// anonymous users, to ask the API server each time that they may nothing.
func (o Options) authentication(cfg *genericapiserver.Config, client kubernetes.Interface) error {
	header := options.RequestHeaderAuthenticationOptions{
		ClientCAFile:        o.file(credentials.RequestHeaderCA + ".crt"),
		AllowedNames:        []string{credentials.AuthProxyName},
		UsernameHeaders:     []string{"X-Remote-User"},
		UIDHeaders:          []string{"X-Remote-Uid"},
		GroupHeaders:        []string{"X-Remote-Group"},
		ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
	}
	proxy, err := header.ToAuthenticationRequestHeaderConfig()
	if err != nil {
		return err
	}
	cfg.Authentication.RequestHeaderConfig = proxy
	if err := cfg.Authentication.ApplyClientCert(proxy.CAContentProvider, cfg.SecureServing); err != nil {
		return err
	}
	anonymous := &apiserver.AnonymousAuthConfig{Enabled: true}
	for _, p := range health {
		anonymous.Conditions = append(anonymous.Conditions, apiserver.AnonymousAuthCondition{Path: p})
	}
	authenticator, definitions, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                anonymous,
		RequestHeaderConfig:      proxy,
		TokenAccessReviewClient:  client.AuthenticationV1(),
		TokenAccessReviewTimeout: requestTimeout,
		WebhookRetryBackoff:      options.DefaultAuthWebhookRetryBackoff(),
		CacheTTL:                 cacheTTL,
	}.New()
	if err != nil {
		return err
	}
	cfg.Authentication.Authenticator = authenticator
	cfg.OpenAPIConfig.SecurityDefinitions = definitions
	return nil
}

// authorization asks the API server, but for its own checks and for health.
func authorization(client kubernetes.Interface) (authorizer.Authorizer, error) {
	open, err := path.NewAuthorizer(health[:])
	if err != nil {
		return nil, err
	}
	delegated, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(),
		AllowCacheTTL:             cacheTTL,
		DenyCacheTTL:              cacheTTL,
		WebhookRetryBackoff:       options.DefaultAuthWebhookRetryBackoff(),
	}.New()
	if err != nil {
		return nil, err
	}
	return union.New(
		// The API server calls with this group to see whether the APIService is available:
		// it must not depend on the API server's answer whether it may.
		union.NamedAuthorizer{AuthorizerName: "kubernetes.io/always-allow-groups", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)},
		union.NamedAuthorizer{AuthorizerName: "kubernetes.io/always-allow-paths", Authorizer: open},
		union.NamedAuthorizer{AuthorizerName: "kubernetes.io/webhook", Authorizer: delegated},
	)
}
