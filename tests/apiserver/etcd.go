package main

import (
	"context"
	"errors"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdSocket is where the API server reaches etcd: a socket in the working folder.
const etcdSocket = "etcd-client.sock"

// startEtcd serves a cluster of one member on sockets, so no port can clash.
func startEtcd(ctx context.Context, dir string) (*embed.Etcd, error) {
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel = "error"
	config.LogOutputs = []string{"stderr"}
	// Data survives the end of the process in any way; only the end of the
	// machine could lose some, and tests do not outlive that.
	config.UnsafeNoFsync = true
	// A change of 50,000 pods and their Leases must fit.
	config.QuotaBackendBytes = 4 << 30
	config.MaxRequestBytes = 4 << 20

	client := url.URL{Scheme: "unix", Host: etcdSocket}
	peer := url.URL{Scheme: "unix", Host: "etcd-peer.sock"}
	config.ListenClientUrls = []url.URL{client}
	config.AdvertiseClientUrls = []url.URL{client}
	config.ListenPeerUrls = []url.URL{peer}
	config.AdvertisePeerUrls = []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)

	server, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-server.Server.ReadyNotify():
		return server, nil
	case err = <-server.Err():
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(time.Minute):
		err = errors.New("not ready after a minute")
	}
	server.Close()
	return nil, err
}
