"""What the runners of CI systems have git do to get a commit, command by command.

Looked up in the sources of actions/checkout, GitLab Runner, the Git client plugin of Jenkins, the
Buildkite agent and BuildKit; commands that read nothing of the repository and its server are left
out. A `Job` is one run of a pipeline on a machine whose user is a `Person`.

Rules: what a runner does is not adapted to what is tested. A command that fails ends the job, as it
would in the runner, but for retries.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from support.programs import Done, Person

QUIET = {"GIT_TERMINAL_PROMPT": "0", "GCM_INTERACTIVE": "Never"}


@dataclass(frozen=True)
class Job:
    """One run of a pipeline.

    Args:
        person: as whom it runs.
        url: of the repository, as the runner's server names it.
        commit: to build.
        folder: work tree; may be there from an earlier run.
        branch: that the commit was pushed to.
        user: name that goes with the password.
        password: of the job for the server; empty if none is needed.
    """

    person: Person
    url: str
    commit: str
    folder: Path
    branch: str = "main"
    user: str = "me"
    password: str = ""

    @property
    def server(self) -> str:
        """Scheme and host of the URL, without a slash at the end."""
        return "://".join(urlsplit(self.url)[:2])

    @property
    def url_with_password(self) -> str:
        """The URL with user and password in it, as some runners put it."""
        if not self.password:
            return self.url
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{self.user}:{self.password}@{rest}"

    @property
    def header(self) -> str:
        """The header that says user and password, as one line of configuration."""
        said = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return f"AUTHORIZATION: basic {said}"

    @property
    def is_new(self) -> bool:
        """Whether no run was here before."""
        return not (self.folder / ".git").exists()

    def git(self, *words: str | Path, cwd: Path | None = None) -> Done:
        """Run git in the work tree."""
        return self.person.git(*words, cwd=cwd or self.folder)

    def all_of(self, *commands: tuple[str | Path, ...]) -> Done:
        """Run one git after the other until one fails."""
        done = None
        for words in commands:
            done = self.git(*words)
            if done.status != 0:
                break
        assert done is not None
        return done

    def with_variables(self, **variables: str) -> Job:
        """Return the job with more in its environment."""
        person = replace(self.person, variables=self.person.variables | variables)
        return replace(self, person=person)


def github(job: Job, fetch: tuple[str, ...] = (), *, in_a_file: bool = True) -> Done:
    """actions/checkout: one commit by its id.

    Args:
        job: to run.
        fetch: options and refspecs that take the place of that.
        in_a_file: whether the password is in a file that is included, as since version 6, or in
            the work tree's own configuration.
    """
    job = job.with_variables(**QUIET)
    job.folder.mkdir(parents=True, exist_ok=True)
    key = f"http.{job.server}/.extraheader"
    if job.is_new:
        job.all_of(
            ("init", job.folder),
            ("remote", "add", "origin", job.url),
            ("config", "--local", "gc.auto", "0"),
        ).ok()
    else:
        job.git("checkout", "--detach").ok()
        job.all_of(("clean", "-ffdx"), ("reset", "--hard", "HEAD")).ok()
    included = job.person.root / f"git-credentials-{os.urandom(8).hex()}.config"
    include = f"includeIf.gitdir:{job.folder}/.git.path"
    if job.password and in_a_file:
        job.git("config", "--file", included, key, job.header).ok()
        job.git("config", "--local", include, included).ok()
    elif job.password:
        job.git("config", "--local", key, job.header).ok()
    name = f"refs/remotes/origin/{job.branch}"
    wanted = fetch or ("--depth=1", "origin", f"+{job.commit}:{name}")
    words = ["--no-tags"] if not any("refs/tags" in word for word in wanted) else []
    done = job.all_of(
        (
            "-c",
            "protocol.version=2",
            "fetch",
            *words,
            "--prune",
            "--no-recurse-submodules",
            *wanted,
        ),
        ("rev-parse", name),
        ("sparse-checkout", "disable"),
        ("checkout", "--progress", "--force", "-B", job.branch, name),
        ("log", "-1", "--format=%H"),
    )
    if job.password and in_a_file:
        job.git("config", "--local", "--unset-all", include).ok()
        included.unlink()
    elif job.password:
        job.git("config", "--local", "--unset-all", key).ok()
    return done


def github_whole(job: Job) -> Done:
    """actions/checkout with ``fetch-depth: 0``: all branches and tags, with all of the past."""
    specs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
    return github(job, ("origin", *specs))


def github_blobless(job: Job) -> Done:
    """actions/checkout with ``filter: blob:none``, which is all of the past without files."""
    return github(job, ("--filter=blob:none", *_one(job)))


def github_old(job: Job) -> Done:
    """actions/checkout before version 6."""
    return github(job, in_a_file=False)


def github_in_a_home(job: Job) -> Done:
    """actions/checkout where it must change global settings: in a copy of the home's."""
    home = job.person.root / f"home-{os.urandom(8).hex()}"
    home.mkdir()
    settings = job.person.root / "home" / ".gitconfig"
    (home / ".gitconfig").write_bytes(settings.read_bytes() if settings.exists() else b"")
    # Where the node's home would be by default, were it another user's.
    node = home / ".local" / "share" / "gittorrent"
    inside = job.with_variables(HOME=str(home), GITTORRENT_HOME=str(node))
    inside.person.git("config", "--global", "--add", "safe.directory", str(job.folder)).ok()
    return github(inside)


def _one(job: Job) -> tuple[str, ...]:
    return ("origin", f"+{job.commit}:refs/remotes/origin/{job.branch}")


def gitlab(job: Job, *, depth: int = 20) -> Done:
    """GitLab Runner with the strategy ``fetch``, tokens by a credential helper.

    That is what the feature flag ``FF_GIT_URLS_WITHOUT_TOKENS`` makes it do.
    """
    helper = '!f(){ if [ "$1" = "get" ] ; then echo "password=${CI_JOB_TOKEN}" ; fi ; } ; f'
    job = job.with_variables(CI_JOB_TOKEN=job.password)
    settings = []
    if job.password:
        settings = [
            (f"credential.{job.server}.username", job.user),
            (f"credential.{job.server}.helper", helper),
        ]
    return _gitlab(job, job.url, settings, depth)


def gitlab_token_in_url(job: Job) -> Done:
    """GitLab Runner before 17: the token is in the remote's URL."""
    return _gitlab(job, job.url_with_password, [], 20)


def gitlab_instead_of(job: Job) -> Done:
    """GitLab Runner since 17: the token is in a rule that rewrites exactly the repository's URL."""
    rule = (f"url.{job.url_with_password}.insteadOf", job.url)
    return _gitlab(job, job.url, [rule] if job.password else [], 20)


def gitlab_clone(job: Job) -> Done:
    """GitLab Runner with the strategy ``clone``: as ``fetch``, in an empty place each time."""
    return gitlab(replace(job, folder=job.folder.with_name(f"{job.folder.name}-{job.commit}")))


def _gitlab(job: Job, url: str, settings: list[tuple[str, str]], depth: int) -> Done:
    template = job.person.root / "template"
    template.mkdir(exist_ok=True)
    apart = job.person.root / "runner.ext.conf"
    apart.unlink(missing_ok=True)
    job.folder.mkdir(parents=True, exist_ok=True)
    for name, value in settings:
        job.git("config", "--file", apart, "--replace-all", name, value).ok()
    for name, value in (
        ("init.defaultBranch", "none"),
        ("fetch.recurseSubmodules", "false"),
        ("credential.interactive", "never"),
        ("gc.autoDetach", "false"),
        ("include.path", str(apart)),
    ):
        job.git("config", "-f", template / "config", "--replace-all", name, value).ok()
    job.git("init", job.folder, "--template", template).ok()
    if job.git("remote", "add", "origin", url).status != 0:
        job.git("remote", "set-url", "origin", url).ok()
        job.git("config", "--replace-all", "include.path", str(apart)).ok()
    return job.all_of(
        (
            "-c", "http.userAgent=gitlab-runner 18.1.0 linux/amd64",
            "fetch", "origin", "--no-recurse-submodules", "+refs/pipelines/7:refs/pipelines/7",
            f"+refs/heads/{job.branch}:refs/remotes/origin/{job.branch}",
            "--depth", str(depth), "--prune", "--quiet",
        ),
        ("checkout", "-f", "-q", job.commit),
        ("clean", "-ffdx"),
        ("log", "-1", "--format=%H"),
    )  # fmt: skip


def jenkins(job: Job) -> Done:
    """Jenkins: all branches by the URL, the password by a program that answers git's questions."""
    job = job.with_variables(GIT_TERMINAL_PROMPT="false", GIT_ASKPASS=str(_askpass(job)))
    job.folder.mkdir(parents=True, exist_ok=True)
    specs = "+refs/heads/*:refs/remotes/origin/*"
    fetch = ("fetch", "--tags", "--force", "--progress", "--", job.url, specs)
    if job.is_new:
        done = job.all_of(("init", job.folder), fetch)
        if done.status != 0:
            return done
        job.git("config", "--add", "remote.origin.fetch", specs).ok()
    else:
        job.git("rev-parse", "--resolve-git-dir", job.folder / ".git").ok()
    return job.all_of(
        ("config", "remote.origin.url", job.url),
        fetch,
        ("rev-parse", f"refs/remotes/origin/{job.branch}^{{commit}}"),
        ("checkout", "-f", job.commit),
        ("log", "-1", "--format=%H"),
    )


def _askpass(job: Job) -> Path:
    """Write the program that answers with user and password."""
    path = job.person.root / f"askpass-{os.urandom(8).hex()}.sh"
    answers = f"Username*) echo {job.user} ;;\nPassword*) echo {job.password} ;;\n"
    path.write_text(f'#!/bin/sh\ncase "$1" in\n{answers}esac\n')
    path.chmod(0o700)
    return path


def buildkite(job: Job) -> Done:
    """Buildkite: a clone, then the commit by its id; passwords by the user's credential helper."""
    return _buildkite(_with_helper(job), ())


def buildkite_mirrors(job: Job) -> Done:
    """Buildkite with ``git-mirrors-path``: a bare mirror on the machine that clones refer to."""
    job = _with_helper(job)
    mirror = job.person.root / "git-mirrors" / "project"
    if not mirror.exists():
        mirror.parent.mkdir(exist_ok=True)
        done = job.git("clone", "--mirror", "-v", "--", job.url, mirror, cwd=job.person.root)
    else:
        done = job.git("--git-dir", mirror, "fetch", "origin", job.branch, cwd=job.person.root)
    return done if done.status != 0 else _buildkite(job, ("--reference", str(mirror)))


def _buildkite(job: Job, options: tuple[str, ...]) -> Done:
    job.folder.mkdir(parents=True, exist_ok=True)
    if job.is_new:
        done = job.git("clone", "-v", *options, "--", job.url, ".")
        if done.status != 0:
            return done
    else:
        job.git("remote", "set-url", "origin", job.url).ok()
    return job.all_of(
        ("clean", "-ffxdq"),
        ("fetch", "-v", "--prune", "--", "origin", job.commit),
        ("-c", "advice.detachedHead=false", "checkout", "-f", job.commit),
        ("clean", "-ffxdq"),
        ("log", "-1", "--format=%H"),
    )


def _with_helper(job: Job) -> Job:
    """Return the job of a user who has a credential helper."""
    if job.password:
        store = job.person.root / "home" / "stored"
        store.parent.mkdir(exist_ok=True)
        scheme, _, host = job.server.partition("://")
        store.write_text(f"{scheme}://{job.user}:{job.password}@{host}\n")
        helper = f"store --file={store}"
        job.person.git("config", "--global", "credential.helper", helper).ok()
    return job


def docker_add(job: Job) -> Done:
    """``ADD https://...#main`` by BuildKit, which lets git see no settings but its own."""
    alone = {"HOME": os.devnull, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    job = job.with_variables(**alone, **QUIET)
    place = job.folder.with_name(f"{job.folder.name}.cache")
    header: tuple[str, ...] = ()
    if job.password:
        said = job.header.replace("AUTHORIZATION", "Authorization")
        header = ("-c", f"http.{job.server}/.extraheader={said}")
    words: tuple[str | Path, ...] = ("--git-dir", place, *header)
    if not place.exists():
        job.git("init", "--bare", place, cwd=job.person.root).ok()
        job.git(*words, "remote", "add", "origin", job.url, cwd=job.person.root).ok()
    job.folder.mkdir(exist_ok=True)
    refspec = f"{job.branch}:tags/{job.branch}"
    done = job.git(*words, "ls-remote", "origin", job.branch)
    if done.status == 0:
        fetch = ("fetch", "--depth=1", "--no-tags", "origin", "--force", refspec)
        done = job.git(*words, *fetch)
    if done.status == 0:
        job.git("--git-dir", place, "--work-tree", job.folder, "checkout", "-f", job.commit).ok()
        done = job.git("--git-dir", place, "log", "-1", "--format=%H")
    return done


def docker_run(job: Job) -> Done:
    """``RUN git clone --depth 1``, each time in a new layer."""
    place = job.folder.with_name(f"{job.folder.name}-{job.commit}")
    job = _with_helper(replace(job, folder=place))
    done = job.git(
        "clone", "--depth", "1", "--branch", job.branch, job.url, place, cwd=place.parent
    )
    return done if done.status != 0 else job.git("log", "-1", "--format=%H")


RUNNERS: dict[str, Callable[[Job], Done]] = {
    "github": github,
    "github, old": github_old,
    "github, whole": github_whole,
    "github, blobless": github_blobless,
    "github, in a home": github_in_a_home,
    "gitlab": gitlab,
    "gitlab, token in URL": gitlab_token_in_url,
    "gitlab, instead of": gitlab_instead_of,
    "gitlab, clone": gitlab_clone,
    "jenkins": jenkins,
    "buildkite": buildkite,
    "buildkite, mirrors": buildkite_mirrors,
    "docker, ADD": docker_add,
    "docker, RUN": docker_run,
}
"""What each of them does, by the name of its recipe."""

PASSING_BY = frozenset({"gitlab, instead of", "docker, ADD"})
"""Runners whose git is told where to go in a way that settings of the machine do not reach."""
