#pragma once
// The environment variables that the launcher sets for its processes and from_environment() reads.

namespace cohaul::job::variables {

inline constexpr const char* kPrefix = "COHAUL_";
inline constexpr const char* kAddress = "COHAUL_ADDRESS";  // host:port of the rendezvous; present: launched by Cohaul
inline constexpr const char* kRole = "COHAUL_ROLE";        // worker, server
inline constexpr const char* kRank = "COHAUL_RANK";
inline constexpr const char* kWorkers = "COHAUL_WORKERS";
inline constexpr const char* kServers = "COHAUL_SERVERS";
inline constexpr const char* kToken = "COHAUL_TOKEN";
inline constexpr const char* kListen =
    "COHAUL_LISTEN";  // where this process listens: as job.address, or several with commas
inline constexpr const char* kPort = "COHAUL_PORT";            // job.port
inline constexpr const char* kPorts = "COHAUL_PORTS";          // job.ports
inline constexpr const char* kTransport = "COHAUL_TRANSPORT";  // auto, arena, tcp
inline constexpr const char* kPeerTimeout = "COHAUL_PEER_TIMEOUT_S";
inline constexpr const char* kStepTimeout = "COHAUL_STEP_TIMEOUT_S";
inline constexpr const char* kJoinTimeout = "COHAUL_JOIN_TIMEOUT_S";
inline constexpr const char* kLog = "COHAUL_LOG";

// The user may set these, with any engine.
inline constexpr const char* kJob = "COHAUL_JOB";  // a name that distinguishes this job from others at the same address
inline constexpr const char* kSecret = "COHAUL_SECRET";           // the job's secret itself
inline constexpr const char* kSecretFile = "COHAUL_SECRET_FILE";  // job.secret
inline constexpr const char* kTlsCert = "COHAUL_TLS_CERT";        // job.tls_cert
inline constexpr const char* kTlsKey = "COHAUL_TLS_KEY";          // job.tls_key
inline constexpr const char* kTlsCa = "COHAUL_TLS_CA";            // job.tls_ca
inline constexpr const char* kTlsJob = "COHAUL_TLS_JOB";       // in certificates of Cohaul's launcher: the job's name
inline constexpr const char* kPlaintext = "COHAUL_PLAINTEXT";  // 1: job.plaintext
inline constexpr const char* kTasks = "COHAUL_TASKS";          // in a pod: how many the job has
inline constexpr const char* kMeetAt = "COHAUL_MEET_AT";       // in a pod: the host of that of index 0
inline constexpr const char* kEngine = "COHAUL_ENGINE";        // none: this process is alone, whatever started it

}  // namespace cohaul::job::variables
