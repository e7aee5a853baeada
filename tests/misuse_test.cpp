// Tests of bad input, end to end: exit code 2 and one line that names place, key, reason and fix, before a worker computes or a socket is opened.
// Nothing but that line's record is written.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "broken_files.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 8
steps = 3
save = "end.safetensors"
[optimizer]
lr = 0.1
)";

const std::string kOwn = COHAUL_OWN_WORKER;

struct Case {
  std::string name;
  std::vector<std::string> says;  // parts of the message; "{}" is the test's folder
  Arguments arguments{};          // after `train JOB`
  std::string from{}, to{};       // a change of the job file
  std::function<void(const std::string& folder)> prepare{};
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

/// A port of loopback on which the test listens: a process that opened a socket there would report that it is taken.
class TakenPort {
 public:
  TakenPort() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    EXPECT_EQ(::listen(fd_, 8), 0);
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size), 0);
    port_ = ntohs(at.sin_port);
  }
  ~TakenPort() { ::close(fd_); }
  TakenPort(const TakenPort&) = delete;
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  bool nobody_came() const { return ::accept(fd_, nullptr, nullptr) < 0; }

 private:
  int fd_;
  int port_ = 0;
};

void expect_refusal(Running& running, const std::vector<std::string>& says) {
  ASSERT_EQ(running.wait(60), 2) << running.err();
  const std::string err = running.err();
  EXPECT_EQ(err.rfind("cohaul: ", 0), 0u) << err;
  EXPECT_EQ(std::ranges::count(err, '\n'), 1) << err;
  for (const std::string& s : says) EXPECT_NE(err.find(with_folder(s, running.folder())), std::string::npos) << err;
  EXPECT_EQ(running.out(), "");
  EXPECT_TRUE(running.descendants().empty());
  for (const auto& file : fs::directory_iterator(running.folder()))
    EXPECT_FALSE(file.path().filename().string().starts_with("end")) << file.path();
}

/// Expects that the record has only the error's line, so no process has joined.
void expect_only_the_error(const Running& running, const std::string& record) {
  const auto lines = json_lines(record);
  ASSERT_EQ(lines.size(), 1u) << record;
  EXPECT_EQ(lines[0]["record"], "error");
  EXPECT_EQ(lines[0]["exit"], 2);
  EXPECT_EQ("cohaul: " + lines[0].value("message", "") + "\n", running.err());
}

TemporaryFolder make_job(const Case& c) {
  TemporaryFolder folder = fresh_folder();
  std::string job = kJob;
  if (const auto at = job.find(c.from); !c.from.empty() && at != std::string::npos)
    job.replace(at, c.from.size(), c.to);
  write_file(folder.file("job.toml"), job);
  write_data(folder.file("data"));
  if (c.prepare) c.prepare(folder.path());
  return folder;
}

class Refused : public testing::TestWithParam<Case> {};

TEST_P(Refused, BeforeAnythingStarts) {
  TakenPort taken;
  Running running(Arguments{"train", "{}/job.toml"} + GetParam().arguments +
                      Arguments{"--set", "job.address=" + taken.address(), "--record", "{}/record"},
                  make_job(GetParam()));
  expect_refusal(running, GetParam().says);
  expect_only_the_error(running, read_file(running.folder() + "/record"));
  EXPECT_TRUE(taken.nobody_came());
}

auto name_of = [](const auto& info) { return info.param.name; };

Case file(std::string name, std::string from, std::string to, std::vector<std::string> says) {
  return {std::move(name), std::move(says), {}, std::move(from), std::move(to)};
}
Case sets(std::string name, const std::vector<std::string>& assignments, std::vector<std::string> says) {
  return {std::move(name), std::move(says), set(assignments)};
}

INSTANTIATE_TEST_SUITE_P(
    Keys, Refused,
    testing::Values(
        file("Alias", "lr = 0.1", "learning_rate = 0.1",
             {"{}/job.toml:11: optimizer.learning_rate: unknown key; did you mean optimizer.lr?",
              "[optimizer] has: name, lr, momentum"}),
        file("Misspelt", "batch", "btach", {"{}/job.toml:7: train.btach: unknown key; did you mean train.batch?"}),
        file("OfAnotherSection", "steps = 3", "steps = 3\nlr = 1",
             {"{}/job.toml:9: train.lr: unknown key; did you mean optimizer.lr?"}),
        file("Unlike", "steps = 3", "steps = 3\nxyzzyx = 1",
             {"{}/job.toml:9: train.xyzzyx: unknown key [train] has: batch, steps"}),
        file("MisspeltSection", "[optimizer]", "[optimiser]",
             {"{}/job.toml:10: unknown section [optimiser]; did you mean [optimizer]?",
              "Sections are: model, data, train, optimizer, schedule, strategy, job"}),
        file("UnlikeSection", "[optimizer]", "[zebra]", {"{}/job.toml:10: unknown section [zebra] Sections are: "}),
        file("NoSection", "[model]", "lr = 1\n[model]", {"{}/job.toml:1: lr stands in no section", "optimizer.lr?"}),
        file("SectionInSection", "[optimizer]", "[optimizer.sgd]", {"{}/job.toml:10: optimizer.sgd: unknown key"}),
        file("Missing", "batch = 8\n", "", {"{}/job.toml: train.batch: missing: samples per update"}),
        sets("SetAlias", {"optimizer.learning_rate=1"},
             {"--set optimizer.learning_rate=1: unknown key; did you mean optimizer.lr?"}),
        sets("SetNoSection", {"lr=1"}, {"--set lr=1: keys are written section.name; did you mean optimizer.lr?"}),
        sets("SetNothing", {"train.batch"}, {"--set train.batch: must be KEY=VALUE"}),
        sets("SetNoKey", {"=3"}, {"--set =3: keys are written section.name"})),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Values, Refused,
    testing::Values(
        file("TextForInteger", "= 8", "= \"8\"", {"{}/job.toml:7: train.batch = \"8\": must be an integer"}),
        file("RealForInteger", "= 8", "= 8.0", {"{}/job.toml:7: train.batch = 8: must be an integer"}),
        file("TextForNumber", "0.1", "\"fast\"", {"{}/job.toml:11: optimizer.lr = \"fast\": must be a number"}),
        file("NumberForBoolean", "path", "shuffle = 1\npath",
             {"{}/job.toml:5: data.shuffle = 1: must be true or false"}),
        file("NumberForText", "\"softmax\"", "3", {"{}/job.toml:2: model.name = 3: must be a text"}),
        file("List", "= 8", "= [8]", {"{}/job.toml:7: train.batch: must be an integer, not a list"}),
        file("Negative", "0.1", "-0.1", {"{}/job.toml:11: optimizer.lr = -0.1: must be at least 0"}),
        file("NotANumber", "0.1", "nan", {"{}/job.toml:11: optimizer.lr = nan: must be finite"}),
        file("Infinite", "0.1", "inf", {"{}/job.toml:11: optimizer.lr = inf: must be finite"}),
        file("BatchZero", "= 8", "= 0", {"{}/job.toml:7: train.batch = 0: must be at least 1"}),
        file("NoModel", "softmax", "sofmax",
             {"{}/job.toml:2: model.name", "softmax or mlp or cnn or resnet18 or deep", "did you mean softmax?"}),
        file("NoDataSet", "idx", "cifar", {"{}/job.toml:4: data.name", "fashion-mnist or mnist or idx"}),
        sets("SetText", {"train.batch=many"}, {"--set train.batch=many: must be an integer"}),
        sets("SetEmpty", {"optimizer.lr="}, {"--set optimizer.lr=: must be a number"}),
        sets("SetEmptyPath", {"train.save="}, {"--set: train.save = \"\": must not be empty"}),
        sets("SetNotANumber", {"optimizer.lr=nan"}, {"--set: optimizer.lr = nan: must be finite"}),
        sets("Workers0", {"job.workers=0"}, {"--set: job.workers = 0: must be at least 1"}),
        sets("Timeout0", {"job.peer_timeout_s=0"}, {"--set: job.peer_timeout_s = 0: must be greater than 0"}),
        sets("NoRule", {"optimizer.name=adma"},
             {"--set: optimizer.name", "sgd or adam or adamw", "did you mean adam?"}),
        sets("NoTransport", {"job.transport=udp"}, {"--set: job.transport", "auto or arena or tcp"}),
        sets("NoStrategy", {"strategy.name=all-reduce"}, {"--set: strategy.name", "did you mean all_reduce?"}),
        Case{"WorkersZero", {"--workers: job.workers = 0: must be at least 1"}, {"--workers", "0"}},
        Case{"WorkersNegative", {"--workers: job.workers = -2: must be at least 1"}, {"--workers", "-2"}}),
    name_of);

const std::vector<std::string> kServers{"strategy.name=parameter_server", "job.workers=2"};
std::vector<std::string> servers(std::vector<std::string> more) {
  more.insert(more.begin(), kServers.begin(), kServers.end());
  return more;
}

INSTANTIATE_TEST_SUITE_P(
    Together, Refused,
    testing::Values(
        file("StepsAndEpochs", "steps = 3", "steps = 3\nepochs = 1",
             {"{}/job.toml:9: train.epochs = 1: train.steps is set too ({}/job.toml:8); keep one of the two"}),
        file("NeitherStepsNorEpochs", "steps = 3\n", "",
             {"{}/job.toml: train.steps: missing, as is train.epochs; set one of the two"}),
        sets("MoreSlicesThanBatch", {"train.slices=9"}, {"--set: train.slices = 9: more slices than train.batch (8)"}),
        Case{"MoreWorkersThanBatch",
             {"{}/job.toml:7: train.batch = 8: smaller than the number of workers (9)"},
             {"--workers", "9"}},
        sets("FewerSlicesThanWorkers", {"train.slices=1", "job.workers=2"},
             {"--set: train.slices = 1: fewer than the workers (2), each of which needs one; give 2 or more"}),
        sets("FewerSlicesThanWorkersOfServers", servers({"train.slices=1"}),
             {"train.slices = 1: fewer than the workers (2)"}),
        sets("ClippedTwice", {"optimizer.clip_norm=1", "optimizer.clip_value=1"},
             {"--set: optimizer.clip_value = 1: clips as optimizer.clip_norm does (--set); choose one of them"}),
        sets("NonFinite", {"optimizer.non_finite=ignore"},
             {"--set: optimizer.non_finite = \"ignore\": must be apply or stop or skip"}),
        sets("SlicesOfTensor", {"train.slices=2", "job.workers=2", "strategy.name=tensor"},
             {"--set: train.slices = 2: tensor computes each batch whole"}),
        sets("NoServers", servers({"strategy.servers=0"}), {"--set: strategy.servers = 0: must be at least 1"}),
        sets("StalenessWithoutBounded", servers({"strategy.consistency=async", "strategy.staleness=3"}),
             {"strategy.staleness = 3: is read only with strategy.consistency = bounded",
              "strategy.consistency is async; remove the key, or set strategy.consistency = bounded"}),
        sets("StalenessWithoutServers", {"strategy.staleness=3"}, {"strategy.staleness = 3: is read only with"}),
        sets("BoundedWithoutStaleness", servers({"strategy.consistency=bounded"}),
             {"strategy.staleness: missing; bounded needs the number of steps", "strategy.staleness = 3"}),
        sets("StalenessNegative", servers({"strategy.consistency=bounded", "strategy.staleness=-1"}),
             {"--set: strategy.staleness = -1: must be at least 0"}),
        sets("SingleWithTwoWorkers", {"strategy.name=single", "job.workers=2"},
             {"--set: strategy.name = \"single\": one worker only, and job.workers is 2 (--set); choose all_reduce"}),
        sets("ServersOfAllReduce", {"strategy.name=all_reduce", "job.workers=2", "strategy.servers=2"},
             {"strategy.servers = 2: is read only with strategy.name = parameter_server, and strategy.name is "
              "all_reduce"}),
        sets("ConsistencyOfSingle", {"strategy.consistency=async"},
             {"strategy.consistency = \"async\": is read only with"}),
        sets("BackupWorkers", servers({"strategy.backup_workers=1"}),
             {"strategy.backup_workers = 1: ", "not available yet"}),
        sets("MomentumOfAdam", {"optimizer.name=adam", "optimizer.momentum=0.9"},
             {"optimizer.momentum = 0.9: is read only with optimizer.name = sgd or rmsprop or lars, and optimizer.name "
              "is "
              "adam"}),
        sets("BetaOfSgd", {"optimizer.beta1=0.9"}, {"optimizer.beta1 = 0.9: is read only with optimizer.name = adam"}),
        sets("NesterovWithoutMomentum", {"optimizer.nesterov=true"}, {"optimizer.nesterov = true: needs momentum"}),
        file("WidthOfSoftmax", "[data]", "width = 9\n[data]",
             {"{}/job.toml:3: model.width = 9: is read only with model.name = mlp or resnet18 or deep, and model.name "
              "is softmax"}),
        file("DataWithoutPath", "path = \"data\"\n", "",
             {"{}/job.toml: data.path: missing; idx is read from a folder"})),
    name_of);

constexpr const char* kTrainImages = "/data/train-images-idx3-ubyte";
constexpr const char* kTrainLabels = "/data/train-labels-idx1-ubyte";

/// A data set with one file replaced by other bytes.
Case data(std::string name, std::string path, std::string bytes, std::vector<std::string> says) {
  says.push_back("{}/job.toml:5: data.path = \"{}/data\": {}" + path);
  return {.name = std::move(name), .says = std::move(says), .prepare = [=](const std::string& folder) {
            fs::remove(folder + path.substr(0, path.find(".gz")));
            write_file(folder + path, bytes);
          }};
}
Case data_of(std::string name, IdxSizes sizes, std::vector<std::string> says) {
  return {.name = std::move(name), .says = std::move(says), .prepare = [=](const std::string& folder) {
            write_data(folder + "/data", sizes);
          }};
}

Case with(Case c, std::string from, std::string to) {
  c.from = std::move(from), c.to = std::move(to);
  return c;
}

std::string cut(std::string bytes, std::size_t by) { return bytes.substr(0, bytes.size() - by); }
std::string with_byte(std::string bytes, std::size_t at, char value) {
  bytes[at] = value;
  return bytes;
}
const std::string kImages = idx_images(24, 28, 28), kLabels = idx_labels(24, 9);
const std::string kGz = ".gz";

INSTANTIATE_TEST_SUITE_P(
    Data, Refused,
    testing::Values(
        sets("NoFolder", {"data.path={}/none"}, {"--set: data.path = \"{}/none\": no such folder"}),
        sets("NotAFolder", {"data.path={}/job.toml"}, {"--set: data.path = \"{}/job.toml\": not a folder"}),
        Case{.name = "EmptyFolder",
             .says = {"data.path = \"{}/data\": has neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz"},
             .prepare = [](const std::string& f) { fs::remove_all(f + "/data"), fs::create_directory(f + "/data"); }},
        data("BadMagic", kTrainImages, with_byte(kImages, 0, 'x'), {"is no IDX file: it starts with the bytes 120 0"}),
        data("Swapped", kTrainLabels, kImages, {"has 3 dimensions", "were images and labels swapped?"}),
        data("OtherType", kTrainImages, with_byte(kImages, 2, 13), {"holds values of IDX type 13"}),
        data("NoHeader", kTrainImages, kImages.substr(0, 9), {"is cut short: 9 bytes"}),
        data("Empty", kTrainImages, "", {"is cut short: 0 bytes"}),
        data("Short", kTrainImages, cut(kImages, 1), {"18831 bytes", "18832"}),
        data("Long", kTrainImages, kImages + "x", {"18833 bytes", "18832"}),
        data("MoreLabelsThanImages", kTrainLabels, idx_labels(25, 9), {"holds 25 labels", "images", " 24 images"}),
        data("FewerLabelsThanImages", kTrainLabels, idx_labels(23, 9), {"holds 23 labels", " 24 images"}),
        with(data("LabelOutOfClasses", kTrainLabels, idx_labels(24, 10), {"label 10 at position 10"}), "idx", "mnist"),
        data("GzCut", kTrainImages + kGz, cut(gzipped(kImages), 20), {"cannot be unpacked", "fetch it again"}),
        data("GzShortInside", kTrainImages + kGz, gzipped(cut(kImages, 5)), {"18827 bytes", "18832"}),
        data("GzBadMagic", kTrainLabels + kGz, gzipped(with_byte(kLabels, 1, 7)), {"is no IDX file"}),
        data("GzNoGzip", kTrainImages + kGz, "\x1f\x8b nonsense", {}),
        data("GzDamagedInside", kTrainImages + kGz, with_byte(gzipped(kImages), gzipped(kImages).size() / 2, '\x55'),
             {"cannot be unpacked"}),
        data_of("NoSamples", {.images = 0, .labels = 0},
                {"{}/data/train-images-idx3-ubyte: says that it holds 0 images"}),
        with(data_of("TooFewPixels", {.rows = 3, .columns = 20},
                     {"{}/job.toml:2: model.name = \"cnn\": takes data with 4 to 16384 rows of an image", "has 3"}),
             "softmax", "cnn"),
        Case{"PixelsOfAnotherModel",
             {"--set: model.name = \"two_layers\": cannot take the data's images of 14×14 pixels"},
             Arguments{"--program", kOwn} + set({"model.name=two_layers", "model.width=8"}),
             "",
             "",
             [](const std::string& f) { write_data(f + "/data", {.rows = 14, .columns = 14}); }}),
    name_of);

/// A case with a safetensors file that train.init names.
Case init(std::string name, std::string header, std::size_t bytes, std::vector<std::string> says) {
  says.push_back("cohaul: --set: train.init = \"{}/init\": ");
  return {std::move(name), std::move(says), set({"train.init={}/init"}), "", "", [=](const std::string& folder) {
            write_file(folder + "/init", safetensors(header, bytes));
          }};
}
std::string tensor(const std::string& name, const std::string& shape, std::size_t begin, std::size_t end,
                   const std::string& dtype = "F32") {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}
constexpr std::size_t kWeight = 4 * 7840, kBias = 40;
const std::string kGoodWeight = tensor("weight", "10,784", 0, kWeight);
const std::string kGoodBias = tensor("bias", "10", kWeight, kWeight + kBias);

INSTANTIATE_TEST_SUITE_P(
    Init, Refused,
    testing::Values(
        sets("Absent", {"train.init={}/none"}, {"--set: train.init = \"{}/none\": cannot be opened: No such file"}),
        sets("Folder", {"train.init={}/data"}, {"--set: train.init = \"{}/data\": is not a file"}),
        sets("NoSafetensors", {"train.init={}/job.toml"}, {"train.init = \"{}/job.toml\": not a safetensors file"}),
        init("Overlaps", "{" + kGoodWeight + "," + tensor("bias", "10", kWeight - 4, kWeight + 36) + "}", kWeight + 36,
             {"tensor bias: its data overlaps another's"}),
        init("Gaps", "{" + kGoodWeight + "," + tensor("bias", "10", kWeight + 8, kWeight + 48) + "}", kWeight + 48,
             {"tensor bias: its data follows a gap"}),
        init("Truncated", "{" + kGoodWeight + "," + kGoodBias + "}", kWeight + kBias - 1,
             {"tensor bias: its data_offsets are outside the file's data"}),
        init("BytesTooMany", "{" + kGoodWeight + "," + kGoodBias + "}", kWeight + kBias + 3,
             {"3 bytes at the end belong to no tensor"}),
        init("ProductTooLarge", "{" + tensor("weight", "9223372036854775807,4", 0, 4) + "}", 4, {"tensor weight: "}),
        init("OffsetsUnlikeShape", "{" + tensor("weight", "10,784", 0, 80) + "}", 80,
             {"tensor weight: its shape needs 31360 bytes, its data_offsets give 80"}),
        init("NoJson", "{\"weight\":", 0, {"the header is not a JSON object"}),
        init("WrongShape", "{" + tensor("weight", "784,10", 0, kWeight) + "," + kGoodBias + "}", kWeight + kBias,
             {"tensor weight is F32 [784, 10], the model's is F32 [10, 784]"}),
        init("WrongType", "{" + tensor("weight", "5,784", 0, kWeight, "F64") + "," + kGoodBias + "}", kWeight + kBias,
             {"tensor weight is F64 [5, 784]"}),
        init("MissingName", "{" + kGoodWeight + "}", kWeight, {"the model's parameter bias is missing"}),
        init("ExtraName", "{" + kGoodWeight + "," + kGoodBias + "," + tensor("more", "0", 0, 0) + "}", kWeight + kBias,
             {"tensor more is not the model's"}),
        Case{"HeaderTooLong",
             {"train.init = \"{}/init\": not a safetensors file, or cut short: its header would have"},
             set({"train.init={}/init"}),
             "",
             "",
             [](const std::string& f) { write_file(f + "/init", std::string(8, '\x7f') + "{}"); }}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Outputs, Refused,
    testing::Values(
        sets("SaveInNoFolder", {"train.save={}/none/x"},
             {"cohaul: --set: train.save = \"{}/none/x\": cannot write into its folder: No such file"}),
        sets("SaveIsAFolder", {"train.save={}/data"}, {"--set: train.save = \"{}/data\": is there and is not a file"}),
        sets("SaveBelowAFile", {"train.save={}/job.toml/x"}, {"train.save = \"{}/job.toml/x\": cannot write into"}),
        sets("LogsBelowAFile", {"job.logs={}/job.toml/x"},
             {"--set: job.logs = \"{}/job.toml/x\": the folder cannot be made"})),
    name_of);

Arguments program(const std::string& path) { return {"--program", path}; }

INSTANTIATE_TEST_SUITE_P(
    Programs, Refused,
    testing::Values(
        Case{"Absent", {"cohaul: --program {}/none: no such file; give the path"}, program("{}/none")},
        Case{"Folder", {"cohaul: --program {}/data: not a file"}, program("{}/data")},
        Case{"NotExecutable", {"cohaul: --program {}/job.toml: cannot be executed; chmod +x"}, program("{}/job.toml")},
        Case{"True",
             {"cohaul: --program /bin/true: is not a Cohaul worker; its main should return cohaul::worker_main"},
             program("/bin/true")},
        Case{"Sleep", {"cohaul: --program /bin/sleep: is not a Cohaul worker"}, program("/bin/sleep")},
        Case{"NoSuchModel",
             {"{}/job.toml:2: model.name = \"three_layers\"", "this program's own: dies, misfits, slow, two_layers"},
             program(kOwn),
             "softmax",
             "three_layers"},
        Case{"OwnModelUnderTensor",
             {"cohaul: --set: strategy.name = \"tensor\": tensor splits layers that the factory makes", "two_layers",
              "choose all_reduce or parameter_server"},
             program(kOwn) + set({"strategy.name=tensor", "job.workers=2", "model.width=8"}),
             "softmax",
             "two_layers"},
        Case{"OwnModelWithoutItsSize",
             {"{}/job.toml:2: model.name = \"two_layers\""},
             program(kOwn),
             "softmax",
             "two_layers"},
        Case{"OwnModelWithATextForASize",
             {"--set model.width=wide: must be an integer"},
             program(kOwn) + set({"model.width=wide"}),
             "softmax",
             "two_layers"}),
    name_of);

struct Line {
  std::string name;
  Arguments arguments;
  std::vector<std::string> says;
};
void PrintTo(const Line& l, std::ostream* out) { *out << l.name; }

/// The command is refused with one line, without even a record.
class LineRefused : public testing::TestWithParam<Line> {};

TEST_P(LineRefused, AtOnce) {
  Running running(GetParam().arguments, make_job({}));
  expect_refusal(running, GetParam().says);
  EXPECT_FALSE(fs::exists(running.folder() + "/record"));
}

INSTANTIATE_TEST_SUITE_P(
    Train, LineRefused,
    testing::Values(
        Line{"NoJob", {"train"}, {"JOB.toml"}},
        Line{"UnknownOption", {"train", "{}/job.toml", "--record", "{}/record", "--wrokers", "3"}, {"--wrokers"}},
        Line{
            "WorkersText", {"train", "{}/job.toml", "--record", "{}/record", "--workers", "two"}, {"--workers", "two"}},
        Line{"SetNothing", {"train", "{}/job.toml", "--record", "{}/record", "--set"}, {"--set"}},
        Line{"RecordInNoFolder",
             {"train", "{}/job.toml", "--record", "{}/none/x"},
             {"--record {}/none/x: cannot be written: No such file", "give a path in a folder that exists"}},
        Line{"RecordIsAFolder",
             {"train", "{}/job.toml", "--record", "{}/data"},
             {"--record {}/data: cannot be written: Is a directory"}},
        Line{"RecordBelowAFile",
             {"train", "{}/job.toml", "--record", "{}/job.toml/x"},
             {"--record {}/job.toml/x: cannot be written: Not a directory"}},
        Line{"TableInNoFolder",
             {"train", "{}/job.toml", "--csv", "{}/none/x"},
             {"--csv {}/none/x: cannot be written: No such file", "give a path in a folder that exists"}},
        Line{"TableIsAFolder",
             {"train", "{}/job.toml", "--csv", "{}/data"},
             {"--csv {}/data: cannot be written: Is a directory"}},
        Line{"TensorBoardBelowAFile",
             {"train", "{}/job.toml", "--tensorboard", "{}/job.toml/x"},
             {"--tensorboard {}/job.toml/x: the folder cannot be made: Not a directory"}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Launch, LineRefused,
    testing::Values(
        Line{"NoProgram", {"launch", "--workers", "2"}, {"program"}},
        Line{"NoWorkers", {"launch", "--", "/bin/true"}, {"--workers is required"}},
        Line{"Workers0", {"launch", "--workers", "0", "--", "/bin/true"}, {"--workers"}},
        Line{"WorkersText", {"launch", "--workers", "x", "--", "/bin/true"}, {"--workers"}},
        Line{"ServersNegative", {"launch", "--workers", "1", "--servers", "-1", "--", "/bin/true"}, {"--servers"}},
        Line{"ProgramAbsent", {"launch", "--workers", "2", "--", "{}/none"}, {"program {}/none: no such file"}},
        Line{"ProgramNotInPath",
             {"launch", "--workers", "2", "--", "no-such-program-anywhere"},
             {"no-such-program-anywhere", "No such file"}},
        Line{"ProgramIsNone",
             {"launch", "--workers", "2", "--", "{}/job.toml"},
             {"program {}/job.toml: cannot be executed"}},
        Line{"LogsBelowAFile",
             {"launch", "--workers", "1", "--logs", "{}/job.toml/x", "--", "/bin/true"},
             {"job.logs", "{}/job.toml/x"}}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Command, LineRefused,
    testing::Values(Line{"Nothing", {}, {"subcommand"}},
                    Line{"Misspelt", {"trian", "job.toml"}, {"unknown command trian; did you mean train?"}},
                    Line{"NoBench", {"bench", "speed"}, {"bench speed: no such bench"}}),
    name_of);

/// The job file itself is missing or unreadable.
TEST(JobFile, ThatIsNone) {
  struct {
    const char *path, *text;
    std::vector<std::string> says;
  } cases[] = {
      {"none.toml", nullptr, {"no job file {}/none.toml; give the path of a TOML file"}},
      {"data", nullptr, {"job file {}/data is not a file"}},
      {"broken.toml", "[train]\nbatch = = 8\n", {"{}/broken.toml:2: not TOML: "}},
      {"twice.toml", "[train]\nbatch = 8\nbatch = 9\n", {"{}/twice.toml:3: not TOML: "}},
      {"open.toml", "[train]\nbatch = 8\n[model", {"{}/open.toml:3: not TOML: "}},
      {"large.toml", "[train]\nbatch = 99999999999999999999\n", {"{}/large.toml:2: "}},
      {"bytes.toml", "\xff\xfe\x01", {"{}/bytes.toml:1: not TOML: "}},
      {"empty.toml", "", {"{}/empty.toml: model.name: missing: the model to train; one of softmax"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path);
    TemporaryFolder folder = make_job({});
    if (c.text) write_file(folder.file(c.path), c.text);
    Running running({"train", std::string("{}/") + c.path, "--record", "{}/record"}, std::move(folder));
    expect_refusal(running, c.says);
    expect_only_the_error(running, read_file(running.folder() + "/record"));
  }
}

TEST(Address, Taken) {
  TakenPort taken;
  Running running({"train", "{}/job.toml", "--set", "job.address=" + taken.address(), "--record", "{}/record"},
                  make_job({}));
  expect_refusal(running, {"job.address", "cannot listen on " + taken.address(), "choose another port"});
  expect_only_the_error(running, read_file(running.folder() + "/record"));
}

/// The small job is valid, without any change.
TEST(GoodJob, Runs) {
  Running running({"train", "{}/job.toml", "--workers", "2"}, make_job({}));
  EXPECT_EQ(running.wait(120), 0) << running.err();
  EXPECT_TRUE(fs::exists(running.folder() + "/end.safetensors"));
}

}  // namespace
}  // namespace cohaul::tests
