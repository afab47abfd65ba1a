package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

// authentication lets nobody in without credentials but for the health
// endpoints. (The format: AuthenticationConfiguration of apiserver.config.k8s.io.)
const authentication = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
  - path: /healthz
`

// apiServer is a running kube-apiserver; err may be read once ended is closed.
type apiServer struct {
	url   string
	ended chan struct{}
	err   error
}

func startAPIServer(ctx context.Context, s settings, keys credentials) (*apiServer, error) {
	listener, err := listen(s.port)
	if err != nil {
		return nil, err
	}
	completed, err := apiServerOptions(ctx, s, keys, listener)
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	server := &apiServer{url: "https://" + listener.Addr().String(), ended: make(chan struct{})}
	go func() {
		defer close(server.ended)
		server.err = app.Run(ctx, completed)
	}()
	return server, nil
}

// listen takes the port given or, for 0, a free one below those that the kernel
// gives to outgoing connections: a server that comes back on its port would
// otherwise now and then find one of them there.
func listen(port int) (net.Listener, error) {
	const first, end, tries = 20000, 32768, 100
	for try := 0; port == 0 && try < tries; try++ {
		if listener, err := on(first + rand.IntN(end-first)); err == nil {
			return listener, nil
		}
	}
	return on(port)
}

func on(port int) (net.Listener, error) {
	return net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

func apiServerOptions(ctx context.Context, s settings, keys credentials, listener net.Listener) (options.CompletedOptions, error) {
	none := options.CompletedOptions{}
	if err := os.WriteFile(keys.path("authentication.yaml"), []byte(authentication), 0o600); err != nil {
		return none, err
	}
	// Requests by the API server to itself warn about nothing a test could fix.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})

	opts := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range opts.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse([]string{
		"--etcd-servers=unix://" + etcdSocket,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		// A loopback address is no valid endpoint of the Service `kubernetes`.
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + keys.path("server.crt"),
		"--tls-private-key-file=" + keys.path("server.key"),
		"--client-ca-file=" + keys.path("ca.crt"),
		"--authentication-config=" + keys.path("authentication.yaml"),
		"--authorization-mode=Node,RBAC",
		// Tokens for other audiences (istio-ca) are issued and reviewed without
		// being named here; here they would open the API server itself.
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + keys.path("service-account.key"),
		"--service-account-signing-key-file=" + keys.path("service-account.key"),
		"--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
		"--allow-privileged=true",
		"--profiling=false",
		"--kubelet-preferred-address-types=InternalIP",
		// Without this an orderly end waits a minute for clients that watch.
		"--shutdown-watch-termination-grace-period=1s",
		"--v=" + strconv.Itoa(s.verbosity),
	}); err != nil {
		return none, err
	}
	opts.SecureServing.Listener = listener
	opts.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port
	opts.SecureServing.ExternalAddress = net.IPv4(127, 0, 0, 1)

	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return none, err
	}
	if err := logsapi.ValidateAndApply(opts.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return none, err
	}
	completed, err := opts.Complete(ctx)
	if err != nil {
		return none, err
	}
	return completed, utilerrors.NewAggregate(completed.Validate())
}

// waitUntilReady returns once /readyz is fine.
func (server *apiServer) waitUntilReady(ctx context.Context, kubeconfig string) error {
	return server.waitUntil(ctx, kubeconfig, func(ctx context.Context, client kubernetes.Interface) error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// waitForCluster returns once the namespaces a cluster starts with exist, with a
// service account where a controller makes them, and nodes where there is a kubelet.
func (server *apiServer) waitForCluster(ctx context.Context, kubeconfig string, running *runningControllers) error {
	return server.waitUntil(ctx, kubeconfig, func(ctx context.Context, client kubernetes.Interface) error {
		for _, namespace := range []string{"default", "kube-system"} {
			if _, err := client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); err != nil {
				return err
			}
			if !running.has("serviceaccount") {
				continue
			}
			if _, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{}); err != nil {
				return err
			}
		}
		if running.has("kubelet") {
			_, err := client.CoreV1().Nodes().Get(ctx, nodeName(nodes-1), metav1.GetOptions{})
			return err
		}
		return nil
	})
}

// waitUntil asks again and again until check has no error.
func (server *apiServer) waitUntil(ctx context.Context, kubeconfig string, check func(context.Context, kubernetes.Interface) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for {
		err := check(ctx, client)
		if err == nil {
			return nil
		}
		select {
		case <-server.ended:
			return fmt.Errorf("kube-apiserver ended: %w", errors.Join(server.err, err))
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver is not ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
