"""Which RPCs Lehr is for.

Tier A is what the published clients call on the way from images to predictions; tier B is the rest of the same nouns.
What is in neither is out of scope: compute clusters, runners, pipelines, labelling tasks, artifacts, secrets.
"""

TIER_A: frozenset[str] = frozenset(
    """
    PostModels GetModel ListModels GetModelOutputInfo PatchModels DeleteModel DeleteModels PostModelVersions
    GetModelVersion ListModelVersions DeleteModelVersion ListModelTypes GetModelType ListModelConcepts
    PostModelOutputs PostWorkflows GetWorkflow ListWorkflows PatchWorkflows DeleteWorkflow DeleteWorkflows
    PostWorkflowResults ListWorkflowVersions GetWorkflowVersion PostApps GetApp ListApps PatchApp PatchApps
    DeleteApp GetUser PostKeys GetKey ListKeys ListAppKeys DeleteKey PostConcepts ListConcepts GetConcept
    PatchConcepts PostConceptsSearches PostInputs ListInputs GetInput PatchInputs DeleteInput DeleteInputs
    GetInputCount GetInputsAddJob CancelInputsAddJob PostAnnotations ListAnnotations GetAnnotation
    PatchAnnotations DeleteAnnotation DeleteAnnotations PostInputsSearches PostAnnotationsSearches PostSearches
    PostDatasets GetDataset ListDatasets PatchDatasets DeleteDatasets PostDatasetInputs ListDatasetInputs
    GetDatasetInput DeleteDatasetInputs PostDatasetVersions GetDatasetVersion ListDatasetVersions
    DeleteDatasetVersions
    """.split()  # noqa: SIM905
)

TIER_B: frozenset[str] = frozenset(
    """
    PatchModelVersions PostModelVersionsTrainingTimeEstimate GenerateModelOutputs StreamModelOutputs
    PostModelsSearches PatchModelIds ListModelInputs ListModelReferences PatchModelToolkits PatchModelUseCases
    PatchModelLanguages PatchModelCheckConsents GetModelVersionInputExample ListModelVersionInputExamples
    PostModelVersionsPublish PostModelVersionsUnPublish PostEvaluations GetEvaluation ListEvaluations
    PostModelVersionEvaluations ListModelVersionEvaluations GetModelVersionEvaluation PostModelVersionMetrics
    GetModelVersionMetrics PutModelVersionExports GetModelVersionExport PutDatasetVersionExports
    ListDatasetVersionMetricsGroups PatchDatasetVersions DeleteWorkflowVersions PatchWorkflowVersions
    PatchWorkflowIds PostWorkflowVersionsPublish PostWorkflowVersionsUnPublish ListConceptRelations
    PostConceptRelations DeleteConceptRelations GetConceptCounts GetConceptLanguage ListConceptLanguages
    PostConceptLanguages PatchConceptLanguages ListKnowledgeGraphs PostKnowledgeGraphs StreamInputs
    GetInputVideoManifest ListInputsAddJobs PostInputsDataSources PostInputsUploads GetInputsExtractionJob
    ListInputsExtractionJobs CancelInputsExtractionJobs PostUploads PutUploadContentParts GetUpload ListUploads
    DeleteUploads PatchAnnotationsSearches PatchInputsSearches GetSearch ListSearches PatchSearches
    PostSearchesByID DeleteSearch ListAnnotationWorkers ListAnnotationFilters GetAnnotationFilter
    PostAnnotationFilters PatchAnnotationFilters DeleteAnnotationFilters PostTrackAnnotationsSearches
    ListAnnotationTracks PostAnnotationTracks PatchAnnotationTracks DeleteAnnotationTracks StreamAnnotations
    PostBulkOperations ListBulkOperations GetBulkOperation CancelBulkOperations DeleteBulkOperations
    ListStatusCodes GetStatusCode PatchKeys MyScopes MyScopesUser MyScopesRoot ListScopes PatchAppsDetails
    PatchAppsIds PostAppsSearches GetResourceCounts ListLogEntries StreamLogEntries ListOpenSourceLicenses
    ListCollaborators PostCollaborators PatchCollaborators DeleteCollaborators ListCollaborations
    """.split()  # noqa: SIM905
)
