//! What images stand for here, by their names: nothing is pulled.

/// What a container of an image runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// Upstream's Envoy.
    Envoy,
    /// This control plane's command.
    Pilothouse,
    /// A real ztunnel, where one is given, and else nothing: the node's own proxy does what it would.
    Ztunnel,
    /// Nothing: commands are run in the pod from outside.
    Idle,
    /// A client that asks at a steady rate, as the arguments of the container say.
    Load,
    /// A server that tells what reached it, on the ports of the container.
    Echo,
}

/// Names, without registry and tag, of what is not an echo.
const TABLE: &[(&str, Image)] = &[
    ("envoy", Image::Envoy),
    ("pilothouse", Image::Pilothouse),
    ("client", Image::Idle),
    ("curl", Image::Idle),
    ("ztunnel", Image::Ztunnel),
    ("load", Image::Load),
];

/// Returns the name of an image, without registry and tag.
pub fn name(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split([':', '@']).next().unwrap_or_default()
}

impl Image {
    /// Returns what an image is.
    pub fn of(image: &str) -> Self {
        let name = name(image);
        TABLE.iter().find(|(known, _)| *known == name).map_or(Self::Echo, |(_, of)| *of)
    }
}

#[cfg(test)]
mod tests {
    use super::Image;

    #[test]
    fn images_are_known_by_their_last_name() {
        assert_eq!(Image::of("envoyproxy/envoy:distroless-v1.40.0"), Image::Envoy);
        assert_eq!(Image::of("localhost:5000/pilothouse@sha256:00"), Image::Pilothouse);
        assert_eq!(Image::of("curlimages/curl:8.16.0"), Image::Idle);
        assert_eq!(Image::of("istio/examples-bookinfo-reviews-v1:1.20.3"), Image::Echo);
    }
}
