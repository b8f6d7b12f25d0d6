package storage

import (
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// locate splits the path of a volume into the base that holds it and the path below the
// base, which is local, clean and not ".". It refuses a path that this package would not
// have given to the volume:
//
//   - one that is not clean or is in none of bases, which are clean;
//   - one folder below the base, unless its name begins with the volume's and "_". The rest
//     may differ: a retained volume can have been given to another claim;
//   - deeper ones, which a pathPattern makes, unless they begin with the claim's namespace and name;
//   - any name is good if anyName is set, which is for classes with allowUnsafePathPattern.
//
// It looks at no file.
func locate(bases []string, path, volume string, claim *corev1.ObjectReference, anyName bool) (base, below string, err error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return "", "", refuse("path %q is not removed: want a clean absolute path", path)
	}
	inside := false
	for _, base := range bases {
		below, ok := strings.CutPrefix(path, base+"/")
		if !ok || base == "/" || !filepath.IsLocal(below) {
			continue
		}
		inside = true
		deep := strings.Contains(below, "/")
		switch {
		case anyName,
			!deep && volume != "" && strings.HasPrefix(below, volume+"_"),
			deep && claim != nil && claim.Namespace != "" && claim.Name != "" &&
				strings.HasPrefix(below+"/", claim.Namespace+"/"+claim.Name+"/"):
			return base, below, nil
		}
	}
	if !inside {
		return "", "", refuse("path %s is not removed: it is in no folder that ConfigMap %s names for volumes (%s). If it was a volume, name its folder there again, or remove it yourself and then this object", path, configName, strings.Join(bases, ", "))
	}
	return "", "", refuse("path %s is not removed: it is not the name of this volume's folder, %s_NAMESPACE_CLAIM. If it was its volume, remove it yourself and then this object", path, volume)
}

// holds says whether the clean path outer is inner or a folder around it.
func holds(outer, inner string) bool {
	return outer == inner || strings.HasPrefix(inner, strings.TrimSuffix(outer, "/")+"/")
}

// conflicts says whether removing path, in base, takes data of another volume at other, or
// would be done behind its back. A volume around the whole base, like the root that
// somebody watches through a hostPath, is not one of those.
func conflicts(base, path, other string) bool {
	other = filepath.Clean(other)
	return holds(path, other) || holds(other, path) && !holds(other, base)
}
