// Package rbac gives the node's own users the rights that upstream's policy does not.
package rbac

import (
	"context"
	"fmt"
	"reflect"

	"github.com/keelson-os/keelson/cluster/credentials"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// grant is one user, its role and who else may see it.
type grant struct {
	name  string // of the ClusterRole and the ClusterRoleBinding
	user  string
	rules []rbacv1.PolicyRule // empty: a role of upstream's
}

// grants lists them all. kube-proxy's role is upstream's, its binding too; the API
// server's own client is in system:masters.
func grants() []grant {
	return []grant{{
		name: credentials.UserFlannel,
		user: credentials.UserFlannel,
		rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{""}, Resources: []string{"nodes/status"}, Verbs: []string{"patch"}},
		},
	}, {
		name: credentials.UserDNS,
		user: credentials.UserDNS,
		rules: []rbacv1.PolicyRule{
			// Pods: "autopath" and "pods verified" of a user's coredns-custom.
			{APIGroups: []string{""}, Resources: []string{"services", "namespaces", "pods"}, Verbs: []string{"list", "watch"}},
			{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"list", "watch"}},
		},
	}}
}

// Apply makes or corrects every grant. It may be repeated.
func Apply(ctx context.Context, client kubernetes.Interface) error {
	for _, g := range grants() {
		if err := applyRole(ctx, client, g); err != nil {
			return fmt.Errorf("ClusterRole %s: %w", g.name, err)
		}
		if err := applyBinding(ctx, client, g); err != nil {
			return fmt.Errorf("ClusterRoleBinding %s: %w", g.name, err)
		}
	}
	return nil
}

func applyRole(ctx context.Context, client kubernetes.Interface, g grant) error {
	api := client.RbacV1().ClusterRoles()
	have, err := api.Get(ctx, g.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: g.name}, Rules: g.rules}, metav1.CreateOptions{})
		return err
	}
	if err != nil || reflect.DeepEqual(have.Rules, g.rules) {
		return err
	}
	have.Rules = g.rules
	_, err = api.Update(ctx, have, metav1.UpdateOptions{})
	return err
}

func applyBinding(ctx context.Context, client kubernetes.Interface, g grant) error {
	api := client.RbacV1().ClusterRoleBindings()
	want := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: g.name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: g.name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: g.user}},
	}
	have, err := api.Get(ctx, g.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, want, metav1.CreateOptions{})
		return err
	}
	if err != nil || reflect.DeepEqual(have.Subjects, want.Subjects) {
		return err
	}
	have.Subjects = want.Subjects
	_, err = api.Update(ctx, have, metav1.UpdateOptions{})
	return err
}
