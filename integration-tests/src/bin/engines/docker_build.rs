//! Docker: `docker build` by the classic builder, whose every `RUN` is a container.

use std::fs;

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::engine::docker::{DEADLINE, Docker};
use garboard_integration_tests::engine::{Engine, image};
use garboard_integration_tests::engine_cases;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](several_stages))
}

/// A build in two stages; Buildah builds it too.
pub const DOCKERFILE: &str = r#"
ARG BASE
FROM $BASE AS build
WORKDIR /src
COPY given .
RUN cat given > made && id -u >> made
ENV WORD=second
RUN echo $WORD >> made && test -e /proc/self/ns && echo three >> made

FROM $BASE
COPY --from=build /src/made /made
RUN mkdir /owned && chown user /owned
USER user
WORKDIR /owned
RUN id -u > who && ! touch /refused 2>/dev/null
CMD ["cat", "/made", "/owned/who"]
"#;

/// What the image made of it prints.
pub const PRINTS: &str = "given\n0\nsecond\nthree\n1000\n";

fn several_stages(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let context = engine.test.scratch("context")?;
    fs::write(context.join("given"), "given\n")?;
    fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    let build = |tag: &str| {
        let base = format!("BASE={}", image::BUSYBOX);
        let dir = context.to_string_lossy();
        let words = [
            "build",
            "--tag",
            tag,
            "--build-arg",
            &base,
            "--force-rm",
            &dir,
        ];
        let mut command = docker.command(&words)?;
        command.env("DOCKER_BUILDKIT", "0");
        engine.test.runtime.spawn(command)?.wait(DEADLINE)
    };
    build("localhost/built")?.success()?;
    let words = ["run", "--rm", "localhost/built"];
    assert_eq!(docker.docker(&words)?.success()?.stdout(), PRINTS);

    fs::write(
        context.join("Dockerfile"),
        format!("{DOCKERFILE}RUN echo so far && exit 9\n"),
    )?;
    let said = build("localhost/broken")?.exits_with(9)?;
    assert!(said.stdout().contains("so far"));
    assert!(
        said.stderr().contains("returned a non-zero code: 9"),
        "{}",
        said.stderr()
    );
    docker.end()
}
