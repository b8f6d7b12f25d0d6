package cluster

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/keelson-os/keelson/cluster/await"
	"github.com/keelson-os/keelson/cluster/health"
	"github.com/keelson-os/keelson/cluster/memory"
	"github.com/keelson-os/keelson/cluster/sequence"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// answers is ready when url answers 200, with the text in it.
func answers(url, ca, text string) func(context.Context) error {
	return func(ctx context.Context) error {
		probe, err := await.HTTPS(url, ca, text)
		if err != nil {
			return err
		}
		return await.Until(ctx, url, probe)
	}
}

// healthy is ready when url, on this host and without TLS, answers 200.
func healthy(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		return await.Until(ctx, url, func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			if err := resp.Body.Close(); err != nil {
				return err
			}
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", url, resp.Status)
			}
			return nil
		})
	}
}

// exists is ready when the file is there.
func exists(path string) func(context.Context) error {
	return func(ctx context.Context) error {
		return await.Until(ctx, path, func(context.Context) error {
			_, err := os.Stat(path)
			return err
		})
	}
}

// remember keeps the heartbeat that an earlier process left in the Node object: its
// Ready condition says nothing about this one.
func (n *node) remember(ctx context.Context) error {
	client, err := n.client()
	if err != nil {
		return err
	}
	object, err := client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	n.earlier = condition(object).LastHeartbeatTime
	return nil
}

// registered is ready when the Node object is Ready, and this process's kubelet said so.
func (n *node) registered(ctx context.Context) error {
	client, err := n.client()
	if err != nil {
		return err
	}
	return await.Until(ctx, "Node "+n.name, func(ctx context.Context) error {
		object, err := client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		c := condition(object)
		if c.LastHeartbeatTime.Equal(&n.earlier) {
			return fmt.Errorf("the kubelet has not reported yet")
		}
		if c.Status != v1.ConditionTrue {
			return fmt.Errorf("not ready: %s: %s", c.Reason, c.Message)
		}
		return nil
	})
}

// label names the node's role, which a kubelet must not do by itself.
func (n *node) label(ctx context.Context) error {
	client, err := n.client()
	if err != nil {
		return err
	}
	patch := []byte(`{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":"true"}}}`)
	return await.Until(ctx, "Node "+n.name, func(ctx context.Context) error {
		object, err := client.CoreV1().Nodes().Get(ctx, n.name, metav1.GetOptions{})
		if err != nil || object.Labels["node-role.kubernetes.io/control-plane"] == "true" {
			return err
		}
		_, err = client.CoreV1().Nodes().Patch(ctx, n.name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

// condition is the Ready condition, or an empty one.
func condition(object *v1.Node) v1.NodeCondition {
	for _, c := range object.Status.Conditions {
		if c.Type == v1.NodeReady {
			return c
		}
	}
	return v1.NodeCondition{}
}

// ready is called when every component is.
func (n *node) ready(context.Context) error {
	memory.Settle()
	n.log.Info("node is ready", "name", n.name)
	if err := n.notify.Ready(); err != nil {
		return err
	}
	close(n.up)
	return nil
}

// health tells PID 1, once all components are ready, how the node is.
func (n *node) health() sequence.Component {
	return sequence.Component{
		Name:  "health",
		After: []string{"apiserver"},
		Run: func(ctx context.Context) error {
			select {
			case <-n.up:
			case <-ctx.Done():
				return nil
			}
			client, err := n.client()
			if err != nil {
				return err
			}
			return health.Run(ctx, health.Options{
				Check: health.Of(client.CoreV1().RESTClient(), client, n.name), Report: n.notify.Healthy, Trial: n.trial, Log: n.log,
			})
		},
	}
}
